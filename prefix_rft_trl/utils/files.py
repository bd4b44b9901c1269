"""Writing files and folders atomically, and locks between commands.

A file or folder appears under its name complete or not at all, though the process may be killed while it writes, and
though several processes may write the same one at once.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


LOCK = ".lock"


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """
    Yields a path to write to, which replaces `file` when the block ends without an error.

    It has the same suffix. If the block writes nothing there, `file` stays as it is.

    Raises:
        ValueError: before the block, if the folder cannot be written to.
    """
    partial = file.with_name(f".{file.stem}.{os.getpid()}.partial{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to the folder {str(file.parent)!r}: {error.strerror}.") from error
    try:
        yield partial
        if partial.exists():
            with partial.open("rb") as written:
                os.fsync(written.fileno())  # or after a power cut the name could be there without the content
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """Replaces the content of a text file, in UTF-8."""
    with atomic_file(file) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """
    Yields a folder to write into, which is renamed to `folder` when the block ends without an error.

    If `folder` exists by then, another process was faster, and its folder stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield partial
        partial.chmod(0o755)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """
    Locks a folder for this command while the block runs.

    Raises:
        ValueError: if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Another command is writing into {folder}. Wait for it, or choose another folder."
            ) from None
        yield
