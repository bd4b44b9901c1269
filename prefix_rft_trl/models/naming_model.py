"""Which model could not be loaded: transformers and the Hub speak of the connection, or of a repository."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming_model(model: str | None) -> Iterator[None]:
    """
    Names the model if the block cannot load it.

    Args:
        model (`str`): a folder, or a name on the Hub.

    Raises:
        ValueError: for an `OSError`, if there is no such folder.
    """
    try:
        yield
    except OSError as error:
        if model is None or Path(model).is_dir():
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"There is no folder {model!r} here, and it could not be had from the Hub either: {reason}"
        ) from error
