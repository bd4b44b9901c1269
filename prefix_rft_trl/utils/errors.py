"""Errors that a user can fix: reported in a sentence, without a traceback."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """A recipe, a flag or a dataset cannot be used; the message says why and how to fix it."""


class WorkError(RuntimeError):
    """Work that had begun has failed for a reason outside of the program; the message says which."""


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
