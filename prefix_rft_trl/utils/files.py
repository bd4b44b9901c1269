"""Writing files and folders atomically, and locks between commands.

A file or folder appears under its name complete or not at all, though the process may be killed while it writes, and
though several processes may write the same one at once.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

from .errors import WorkError
from .faults import full_disk, is_full_disk


LOCK = ".lock"


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """
    Yields a path to write to, which replaces `file` when the block ends without an error.

    It has the same suffix. If the block writes nothing there, `file` stays as it is.

    Raises:
        ValueError: before the block, if the file cannot be written.
        OSError: naming the file, if the disk is full.
    """
    _try_to_write(file)
    partial = _partial(file)
    try:
        with named_in_errors(file):
            yield partial
            if partial.exists():
                with partial.open("rb") as written:
                    os.fsync(written.fileno())  # or after a power cut the name could be there without the content
                partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def named_in_errors(file: Path) -> Iterator[None]:
    """Names the file or folder that the block writes in errors about a full disk, which do not say it themselves.

    Raises:
        WorkError: for those of libraries that are no `OSError`.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(_partial(file))):
            error.filename = str(file)
        raise
    except Exception as error:
        if is_full_disk(error):
            raise WorkError(full_disk(str(file))) from error
        raise


def check_writable(file: Path) -> None:
    """Raises `ValueError` if a file that is to be written later cannot be. Leaves nothing behind."""
    with _new_folders_removed(file.parent):
        _try_to_write(file)


def check_writable_folder(folder: Path) -> None:
    """Raises `ValueError` if files that are to be written into a folder later cannot be. Leaves nothing behind."""
    check_writable(folder / "file")


def _try_to_write(file: Path) -> None:
    folder, partial = file.parent, _partial(file)
    if file.is_dir():
        raise ValueError(f"{str(file)!r} is to be a file, and it is a folder. Name a file in it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise ValueError(f"cannot write to the folder {str(folder)!r}: {reason}. Name another one.") from error


@contextmanager
def _new_folders_removed(folder: Path) -> Iterator[None]:
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


def _partial(file: Path) -> Path:
    return file.with_name(f".{file.stem}.{os.getpid()}.partial{file.suffix}")


def read_object(file: Path, remedy: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The content of a JSON file with an object.

    Raises:
        ValueError: with the remedy, if it is damaged or lacks one of the keys.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: it is not JSON ({error}). {remedy}") from error
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise ValueError(f"{file} is damaged: it lacks {', '.join(keys) or 'everything'}. {remedy}")
    return found


class ParquetSink:
    """
    A file for Parquet writers, which end the process when a write fails: an error is raised when it is closed.

    Args:
        file (`Path`): the file that is written.
    """

    closed = False

    def __init__(self, file: Path):
        self._file: BufferedWriter = file.open("wb")
        self._error: OSError | None = None

    def write(self, content: bytes) -> int:
        if self._error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._error = error
        return len(content)

    def __enter__(self) -> "ParquetSink":
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error
        if self._error is not None:
            raise self._error


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
        with named_in_errors(folder):
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
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Another command is writing into {folder}. Wait for it, or choose another folder."
            ) from None
        yield
