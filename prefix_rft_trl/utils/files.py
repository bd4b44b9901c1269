"""Folders that are there whole or not at all, though several processes make them at once."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """
    A folder to write into, which takes its name when the block has ended without an error.

    If there is one of that name by then, another process was faster, and what that has made is kept.

    Args:
        folder (`Path`): the name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield made
        made.chmod(0o755)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


LOCK = ".lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the folder of a comparison; a second comparison in it is an error."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Another command is writing into {folder}. Wait for it, or take another folder."
            ) from None
        yield


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A file beside the output that takes its place when it was written to and all went well, and is gone when not.

    Raises:
        ValueError: at once, if nothing can be written there.
    """
    partial = output.with_name(f".{output.stem}.{os.getpid()}.partial{output.suffix}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise ValueError(f"cannot write to the folder {str(output.parent)!r}: {error.strerror}.") from error
    try:
        yield partial
        if partial.stat().st_size:
            partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)
