"""Errors that a user can fix: reported in a sentence, without a traceback."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import Version


MINIMUM_DEEPSPEED = "0.19"  # as in pyproject.toml


class UserError(Exception):
    """A recipe, a flag or a dataset cannot be used; the message says why and how to fix it."""


@contextmanager
def as_user_error(*kinds: type[Exception]) -> Iterator[None]:
    """Raises errors of these kinds in the block as a `UserError` in the same words."""
    try:
        yield
    except kinds as error:
        raise UserError(str(error)) from error


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """` Did you mean 'learning_rate'?` for a name that is close to known ones, otherwise an empty string."""
    matches = [repr(match) for match in get_close_matches(name, list(known), most)]
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


def refuse_old_deepspeed(args: Any) -> None:
    """Refuses `TrainingArguments` that use a DeepSpeed which can lose micro-batches (https://arxiv.org/abs/2604.23747).

    Raises:
        ValueError: for an installed version below `MINIMUM_DEEPSPEED`.
    """
    if getattr(args, "deepspeed_plugin", None) is None:
        return
    with suppress(PackageNotFoundError):  # reported when it is imported
        if Version(version("deepspeed")) < Version(MINIMUM_DEEPSPEED):
            raise ValueError(
                f"DeepSpeed {version('deepspeed')} can silently lose micro-batches: install "
                f"deepspeed>={MINIMUM_DEEPSPEED}."
            )
