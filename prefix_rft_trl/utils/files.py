"""Writing files and folders atomically, and locks between commands.

A file or folder appears under its name complete or not at all, though the process may be killed while it writes, and
though several processes may write the same one at once. What a killed process leaves behind is removed by the next one
that writes into the same folder.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import IO, Any

from .errors import WorkError
from .faults import full_disk, is_full_disk


LOCK = ".prefix-rft.lock"
PATIENCE = 2.0  # seconds that a killed process of many gigabytes may take to end
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a disk that has none, such as Lustre without `flock`

SCRATCH = re.compile(r"\.partial-([0-9a-f]{8}|lock)$")

NO_FOLDER: dict[type[OSError], str] = {
    FileExistsError: "it is a file",
    NotADirectoryError: "a part of this path is a file",
}

_held: set[int] = set()


class InUseError(ValueError):
    """Another command is writing into a folder."""


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """
    Yields a path to write to, which replaces `file` when the block ends without an error.

    It has the same name, in a folder of its own. If the block writes nothing there, `file` stays as it is.

    Raises:
        ValueError: before the block, if the file cannot be written.
        OSError: naming the file, if the disk is full.
    """
    if file.is_dir():
        raise ValueError(f"{str(file)!r} is to be a file, and it is a folder. Name a file in it.")
    with ExitStack() as stack:
        try:
            partial = stack.enter_context(_scratch_folder(file)) / file.name
        except OSError as error:
            raise _not_writable(file.parent, error) from error
        with named_in_errors(file, partial):
            yield partial
            if partial.exists():
                with partial.open("rb") as written:
                    os.fsync(written.fileno())  # or after a power cut the name could be there without the content
                partial.replace(file)


@contextmanager
def named_in_errors(file: Path, partial: Path | None = None) -> Iterator[None]:
    """Names the file or folder that the block writes in errors about a full disk, which do not say it themselves.

    Raises:
        WorkError: for those of libraries that are no `OSError`.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, partial and str(partial)):
            error.filename = str(file)
        raise
    except Exception as error:
        if is_full_disk(error):
            raise WorkError(full_disk(str(file))) from error
        raise


def check_writable(file: Path) -> None:
    """Raises `ValueError` if a file that is to be written later cannot be. Leaves nothing behind."""
    with _new_folders_removed(file.parent), atomic_file(file):
        pass


def check_writable_folder(folder: Path) -> None:
    """Raises `ValueError` if files that are to be written into a folder later cannot be. Leaves nothing behind."""
    check_writable(folder / "file")


@contextmanager
def _new_folders_removed(folder: Path) -> Iterator[None]:
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


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
    with _scratch_folder(folder) as scratch:
        partial = scratch / folder.name
        partial.mkdir()
        with named_in_errors(folder):
            yield partial
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


@contextmanager
def exclusive_lock(
    folder: Path, patience: float = PATIENCE, name: Path | None = None, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """
    Locks a folder for this command while the block runs. A dead process has no lock.

    Args:
        folder (`Path`): the folder, which is made if necessary, and removed if nothing else is in it at the end.
        patience (`float`): seconds to wait for the lock.
        name (`Path`, *optional*): what the error says is locked, instead of the folder.
        say (`Callable`, *optional*): takes a sentence, once, if the lock has to be waited for.

    Raises:
        InUseError: if another process holds the lock.
        ValueError: if the folder cannot be written to.
    """
    made, end = [path for path in (folder, *folder.parents) if not path.exists()], time.monotonic() + patience
    try:
        while (lock := _take_lock(folder)) is None and time.monotonic() < end:
            if say:
                say(f"Another command is writing into {name or folder}. Waiting {patience:g} seconds for it to end.")
                say = None
            time.sleep(0.05)
    except OSError as error:
        raise _not_writable(name.parent if name else folder, error) from error
    if lock is None:
        raise InUseError(
            f"Another command is writing into {name or folder}{_holder(folder / LOCK)}. Wait for it, or choose "
            f"another {'file' if name else 'folder'}."
        )
    _held.add(lock.fileno())
    try:
        yield
    finally:
        _held.remove(lock.fileno())
        (folder / LOCK).unlink(missing_ok=True)  # while it is held, or another process could hold it
        lock.close()
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def exclusive_file(file: Path) -> Iterator[None]:
    """Locks a file that is to be written, as [`exclusive_lock`] does a folder."""
    with exclusive_lock(file.with_name(f".{file.name}.partial-lock"), name=file):
        yield


def held_locks() -> tuple[int, ...]:
    """The file descriptors of the locks that this process holds. A child that inherits them holds them too."""
    return tuple(_held)


@contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """Yields a locked folder beside a target, and removes it. Before that it removes those of killed processes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in (path for path in target.parent.glob(".*.partial-*") if SCRATCH.search(path.name)):
        with suppress(OSError):
            if (lock := _take_lock(left, is_required=True)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                lock.close()
    lock = None
    while lock is None:  # or another process has taken it for left behind
        scratch = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        lock = _take_lock(scratch)
    try:
        yield scratch
    finally:
        lock.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _take_lock(folder: Path, is_required: bool = False) -> IO[str] | None:
    """The lock of a folder, held until it is closed; `None` if another process holds it.

    Raises:
        OSError: if the folder cannot be written to or, where the lock is required, its disk has no locks.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # the one before it may be removing the folder
            lock = stack.enter_context((folder / LOCK).open("a", encoding="utf-8"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            except OSError as error:
                if is_required or error.errno not in NO_LOCKS:
                    raise
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK)):
                stack.pop_all()
                return lock


def _holder(lock: Path) -> str:
    """` (process 12)`, the first process that has a lock open, if the system says so."""
    path, holders = str(lock.resolve()), set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(descriptor) == path:
                holders.add(int(descriptor.parts[2]))
    others = holders - {os.getpid()}
    return f" (process {min(others)})" if others else ""


def _not_writable(folder: Path, error: OSError) -> ValueError:
    reason = NO_FOLDER.get(type(error), error.strerror)
    return ValueError(f"cannot write to the folder {str(folder)!r}: {reason}. Name another one.")
