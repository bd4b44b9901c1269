"""Local files of a dataset: check one before it is read, and say which line cannot be."""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from prefix_rft_trl.utils.errors import UserError, nearest
from prefix_rft_trl.utils.faults import known_fault


LOCAL_FORMATS = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv",
}  # fmt: skip
KINDS = f"{', '.join(LOCAL_FORMATS)}, or any of them and .gz"
SPLIT_WORDS = {  # in the path of a file below its folder
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
HUB_NAME = re.compile(r"^\w[\w.-]*(/\w[\w.-]*)?$")

_GZIP, _LFS_POINTER, _PARQUET, _BOM = b"\x1f\x8b", b"version https://git-lfs", b"PAR1", b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_SAVED_DATASET, _SAVED_SPLITS = "state.json", "dataset_dict.json"
_ROW = "a row is an object with the columns as keys"
_REMEDIES = {
    "csv": "A text with commas or line breaks is quoted, and each line has all columns.",
    "parquet": "The file is damaged: copy it again.",
}


def file_format(name: str) -> str | None:
    """`json`, `parquet` or `csv` for the name of a local file, compressed or not; `None` for any other name."""
    return LOCAL_FORMATS.get(_ending(name))


def local_source(name: str) -> dict[str, Any] | None:
    """Arguments of `datasets.load_dataset` for a local file or folder; `None` for a name that it knows itself."""
    path = Path(name)
    if not path.is_dir():
        return _files_source({"train": [path]}) if file_format(name) else None
    if is_saved_by_datasets(path):
        files = {split: [str(file) for file in _saved_files(folder)] for split, folder in _saved_splits(path).items()}
        return {"path": "arrow", "data_files": files}
    splits = _split_files(path)
    return _files_source(splits) if splits and not _has_metadata(path) else None


def file_of_each_split(folder: Path) -> dict[str, Path]:
    """The files of a folder by their split, if there are several splits of one file each; else none."""
    if not folder.is_dir() or is_saved_by_datasets(folder) or _has_metadata(folder):
        return {}
    splits = _split_files(folder)
    has_one_each = len(splits) > 1 and all(len(files) == 1 for files in splits.values())
    return {split: files[0] for split, files in splits.items()} if has_one_each else {}


def is_saved_by_datasets(path: Path) -> bool:
    return any((path / name).is_file() for name in (_SAVED_DATASET, _SAVED_SPLITS))


def check_source(name: str, is_streaming: bool = False) -> None:
    """Looks at a file or folder of a dataset before it is opened; a name on the Hub passes.

    Raises:
        UserError: if there is none of that name, or if it is empty, of another kind, or not in UTF-8.
    """
    path, form = Path(name).expanduser(), file_format(name)
    if path.is_dir():
        _check_folder(path, form, is_streaming)
    elif path.exists():
        if form is None or not path.is_file():
            raise UserError(f"the dataset {name!r} is of no known kind. Name a file that ends in {KINDS}.")
        _check_file(path, form, is_streaming)
    elif form or not HUB_NAME.match(name):
        raise UserError(f"there is no dataset file {name!r}.{_nearest_file(path)}")


def _ending(name: str) -> str:
    return Path(re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)).suffix.lower()


def _files_source(splits: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    files = {split: [str(file) for file in found] for split, found in splits.items()}
    first = next(iter(files.values()))[0]
    separator = {"sep": "\t"} if _ending(first) == ".tsv" else {}
    return {"path": file_format(first), "data_files": files, **separator}


def _split_files(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder, by the split that a word of their path names; all others are for training."""
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        below = file.relative_to(folder)
        if file.is_file() and file_format(file.name) and not any(part.startswith((".", "_")) for part in below.parts):
            words = re.split(r"[^a-z]+", str(below).lower())
            named = (split for split, known in SPLIT_WORDS.items() if not set(known).isdisjoint(words))
            splits.setdefault(next(named, "train"), []).append(file)
    return {split: splits[split] for split in SPLIT_WORDS if split in splits}


def _has_metadata(folder: Path) -> bool:
    """Whether a folder is a repository of the Hub, whose card says which files make which split."""
    card = folder / "README.md"
    return card.is_file() and card.read_text(encoding="utf-8", errors="replace").startswith("---")


def _saved_splits(folder: Path) -> dict[str, Path]:
    if (folder / _SAVED_DATASET).is_file():
        return {"train": folder}
    return {split: folder / split for split in _read_saved(folder / _SAVED_SPLITS, "splits")}


def _saved_files(folder: Path) -> list[Path]:
    return [folder / file["filename"] for file in _read_saved(folder / _SAVED_DATASET, "_data_files")]


def _read_saved(file: Path, key: str) -> list[Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the dataset of `save_to_disk` cannot be read: {str(file)!r} is damaged or missing."
        ) from error


def _check_folder(folder: Path, form: str | None, is_streaming: bool) -> None:
    splits = _split_files(folder)
    files = [file for found in splits.values() for file in found]
    if form:
        inside = ", ".join(file.name for file in files[:5])
        raise UserError(f"the dataset {str(folder)!r} is a folder. Name a file in it: {inside or 'there is none'}.")
    if is_saved_by_datasets(folder):
        saved = [file for split in _saved_splits(folder).values() for file in _saved_files(split)]
        if missing := [file for file in saved if not (file.is_file() and file.stat().st_size)]:
            raise UserError(f"the dataset of `save_to_disk` lacks {str(missing[0])!r}. Copy it again.")
        if not saved:
            raise UserError(f"the dataset {str(folder)!r} of `save_to_disk` has no rows.")
    elif not _has_metadata(folder):
        kinds = {(file_format(file.name), _ending(file.name) == ".tsv"): file.name for file in files}
        if len(kinds) > 1 and not file_of_each_split(folder):
            raise UserError(
                f"the folder {str(folder)!r} has files of several kinds: {', '.join(kinds.values())}. Name one of "
                "them, or keep those of one kind."
            )
        for file in files:
            _check_file(file, str(file_format(file.name)), is_streaming)


def _check_file(file: Path, form: str, is_streaming: bool) -> None:
    with file.open("rb") as content:
        head = content.read(1024)
    if not head:
        raise UserError(f"the dataset file {str(file)!r} is empty: it has no rows.")
    if head.startswith(_LFS_POINTER):
        raise UserError(
            f"{str(file)!r} is a pointer of Git LFS, and not the data itself. Fetch it with `git lfs pull`."
        )
    if form == "parquet":
        _check_parquet(file, head)
    elif not is_streaming:
        with _unpacked(file) as lines:
            start = _check_text(file, lines)
        if form == "json" and re.match(rb"\[\s*[^\s{\]]", start):
            raise UserError(f"{str(file)!r} is a list, but not of objects: {_ROW}, found {start[:40].decode()!r}.")


def _check_parquet(file: Path, head: bytes) -> None:
    with file.open("rb") as content:
        content.seek(-min(4, len(head)), 2)
        tail = content.read()
    if head.startswith(_GZIP):
        raise UserError(f"{str(file)!r} is packed, and Parquet is read unpacked only: `gunzip {file}`.")
    if head[:4] != _PARQUET:
        raise UserError(f"{str(file)!r} is not Parquet. Name it after what it is: {KINDS}.")
    if tail != _PARQUET:
        raise UserError(f"{str(file)!r} is cut off: a Parquet file ends in {_PARQUET.decode()}. Copy it again.")


def _check_text(file: Path, lines: Iterable[bytes]) -> bytes:
    """The first line with text of a file in UTF-8."""
    start = b""
    for number, line in enumerate(lines, 1):
        if number == 1 and line[:2] in _OTHER_ENCODINGS:
            raise _not_utf8(file, _OTHER_ENCODINGS[line[:2]])
        try:
            line.isascii() or line.decode()  # the former is ten times as fast
        except UnicodeDecodeError as error:
            raise _not_utf8(file, None, f", line {number}: byte {error.object[error.start]:#04x}") from error
        start = start or line.strip()
    if not start:
        raise UserError(f"the dataset file {str(file)!r} is empty: it has no rows.")
    return start.removeprefix(_BOM)


def _not_utf8(file: Path, encoding: str | None, place: str = "") -> UserError:
    remedy = f"iconv -f {encoding or 'ENCODING'} -t UTF-8 {file} > converted{file.suffix}"
    return UserError(f"{str(file)!r} is {encoding or 'not in UTF-8'}{place}. Convert it: `{remedy}`.")


@contextmanager
def _unpacked(file: Path) -> Iterator[BinaryIO]:
    with file.open("rb") as content:
        is_packed = content.read(2) == _GZIP
    with gzip.open(file) if is_packed else file.open("rb") as content:
        try:
            yield cast(BinaryIO, content)
        except (EOFError, gzip.BadGzipFile) as error:
            raise UserError(f"{str(file)!r} is compressed, and cut off or damaged. Copy it again.") from error


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {str(path.parent)!r} either."
    return nearest(path.name, [file.name for file in path.parent.iterdir()])


@contextmanager
def explain_unreadable(name: str) -> Iterator[None]:
    """Turns what `datasets` raises while it reads a dataset into a sentence that names the file, and the line.

    Raises:
        UserError: for any of its errors.
    """
    from datasets import logging
    from datasets.exceptions import DatasetsError

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # it logs the traceback of what is raised here as a sentence
    try:
        yield
    except (DatasetsError, ValueError, OSError, RuntimeError, StopIteration) as error:
        if not Path(name).exists():
            where = f"there is no file or folder {name!r} here, and the Hub did not provide it"
            raise UserError(f"{where}: {_text(error)}") from error
        raise UserError(f"the dataset {name!r} cannot be read: {_reason(Path(name), error)}") from error
    finally:
        logging.set_verbosity(verbosity)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, StopIteration) or "corresponds to no data" in str(error):
        return "it has no rows."
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.is_file() and file_format(file.name) == "json" and (fault := _fault_in_json(file)):
            return fault
    cause = error.__cause__ or error
    remedy = _REMEDIES.get(file_format(path.name) or "", "")
    is_of_system = isinstance(cause, OSError) and cause.errno is not None
    return f"{(known_fault(cause) if is_of_system else None) or _text(cause)} {remedy}".rstrip()


def _fault_in_json(file: Path) -> str | None:
    """The first line of a JSON file that is no object; a list of objects may take many lines."""
    with _unpacked(file) as content:
        text = content.read().removeprefix(_BOM).decode()
    number = 0
    try:
        if text.lstrip()[:1] == "[":
            return next((_not_a_row(f"{file}", row) for row in json.loads(text) if not isinstance(row, dict)), None)
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip() and not isinstance(row := json.loads(line), dict):
                return _not_a_row(f"{file}, line {number}", row)
    except json.JSONDecodeError as error:
        return f"{file}, line {number if number else error.lineno} is not JSON ({error.msg}, column {error.colno})."
    return None


def _not_a_row(place: str, found: object) -> str:
    return f"{place}: {_ROW}, found {found!r:.40}."


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."
