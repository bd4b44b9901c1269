"""Reading the folder of a run: its curve, whether it is finished, and which of its checkpoints are complete."""

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


CURVE = "curve.jsonl"
ENVIRONMENT = "environment.jsonl"
STATE = "trainer_state.json"
CANDIDATES = "plateau_candidates"  # models that a stage may hand on
INCOMPLETE = "checkpoint-is-incomplete.txt"  # transformers uses the same mark
FILES = "checkpoint_files.json"


def read_curve(folder: str | Path) -> list[dict[str, Any]]:
    """The measurements of a run's learning curve, without a last line that is still being written."""
    return _json_lines(Path(folder) / CURVE)


def read_environments(folder: str | Path) -> list[dict[str, Any]]:
    """What a run trained with, a line for each start ([`~prefix_rft_trl.run.environment.RunEnvironment`])."""
    return _json_lines(Path(folder) / ENVIRONMENT)


def _json_lines(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def is_scored(line: dict[str, Any]) -> bool:
    """Whether the accuracy of a measurement is known: some runs have 0 for that of no problem at all (up to 0.9.0)."""
    return line.get("accuracy") is not None and line.get("problems", 1) > 0


def is_finished(folder: str | Path) -> bool:
    """Whether a run reached its last step. Its state in the folder is what training writes last."""
    state = readable_object(Path(folder) / STATE)
    step, last = state.get("global_step"), state.get("max_steps")
    return isinstance(step, int) and isinstance(last, int) and step >= last


def last_checkpoint(
    folder: str | Path, on_incomplete: Callable[[str], None] | None = None, verify: bool = False
) -> str | None:
    """The complete checkpoint of a run that was written last; `None` if there is none.

    No clock decides what was written last: each checkpoint has a number, one above those that it found in the folder.
    Those without (up to 0.7.0, and of other trainers) come before, by their steps.

    Args:
        folder (`str` or `Path`): the folder of the run.
        on_incomplete (`Callable`, *optional*): called with a message for each checkpoint that is skipped.
        verify (`bool`): whether to skip a checkpoint whose files no longer have their checksums. It reads them all.
    """
    newest_first = reversed(_oldest_first(folder))
    for checkpoint in sorted(newest_first, key=lambda checkpoint: why_incomplete(checkpoint) is None):
        reason = why_incomplete(checkpoint) or (why_damaged(checkpoint) if verify else None)
        if reason is None:
            return str(checkpoint)
        if on_incomplete is not None:
            on_incomplete(f"Skipping {checkpoint}: {reason}")
    return None


def delete_oldest(folder: Path, limit: int | None, best: str | None) -> None:
    """Deletes the oldest checkpoints above a limit, incomplete ones first, never the last one nor the best."""
    if not limit or limit < 0:
        return
    found = sorted(_oldest_first(folder), key=lambda checkpoint: why_incomplete(checkpoint) is None)
    kept = {*found[-1:], *(checkpoint for checkpoint in found if best and checkpoint.name == Path(best).name)}
    others = [checkpoint for checkpoint in found if checkpoint not in kept]
    for checkpoint in others[: max(0, len(found) - max(limit, len(kept)))]:
        shutil.rmtree(checkpoint, ignore_errors=True)


@dataclass(frozen=True)
class FileList:
    """The list of its files that a checkpoint holds.

    Attributes:
        order (`int`): number of the checkpoint among those of its folder, as they were written; 0 up to 0.7.0.
        sizes (`dict[str, int]`): bytes of each file.
        checksums (`dict[str, int]`): CRC-32 of each file; empty up to 0.7.0.
    """

    order: int
    sizes: dict[str, int]
    checksums: dict[str, int]

    @classmethod
    def read(cls, checkpoint: Path) -> "FileList | None":
        """The list of a checkpoint; `None` if there is none or it is damaged."""
        content = readable_object(checkpoint / FILES)
        order, sizes, checksums = content.get("order", 0), content.get("sizes", {}), content.get("checksums", {})
        are_counts = all(map(_are_counts, ({"order": order}, sizes, checksums)))
        is_whole = are_counts and STATE in sizes and (sizes.keys() == checksums.keys() or not order)
        is_whole = is_whole and all(_is_inside(name) for name in sizes)
        return cls(order, sizes, checksums) if is_whole else None

    @classmethod
    def describe(cls, checkpoint: Path) -> "FileList":
        """The list of a checkpoint that is about to be complete."""
        files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name not in (INCOMPLETE, FILES)]
        names = {path.relative_to(checkpoint).as_posix(): path for path in sorted(files)}
        sizes = {name: path.stat().st_size for name, path in names.items()}
        order = 1 + max(map(_order, _oldest_first(checkpoint.parent)), default=0)
        return cls(order, sizes, {name: checksum(path) for name, path in names.items()})


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def why_incomplete(checkpoint: Path) -> str | None:
    """Why a run cannot be resumed from a checkpoint; `None` if it is complete.

    A checkpoint without a list of its files, as other trainers write them, counts as complete if it has the state that
    training writes last.
    """
    if not checkpoint.is_dir():
        return "there is no such folder."
    if (checkpoint / INCOMPLETE).exists():
        return "it was not written to its end."
    if not isinstance(readable_object(checkpoint / STATE).get("global_step"), int):
        return f"it has no readable {STATE}, which is written last."
    if not (checkpoint / FILES).exists():
        return None
    files = FileList.read(checkpoint)
    if files is None:
        return f"its {FILES} cannot be read."
    for name, size in files.sizes.items():
        file = checkpoint / name
        if not file.is_file():
            return f"its file {name} is missing."
        if file.stat().st_size != size:
            return f"its file {name} has {file.stat().st_size} bytes instead of {size}."
    return None


def why_damaged(checkpoint: Path) -> str | None:
    """Which file of a complete checkpoint is not as it was written; `None` if all are, or if it has no checksums."""
    return _damage(checkpoint, tuple(file.stat().st_mtime_ns for file in sorted(checkpoint.rglob("*"))))


@lru_cache(maxsize=64)
def _damage(checkpoint: Path, written: tuple[int, ...]) -> str | None:
    files = FileList.read(checkpoint)
    for name, expected in files.checksums.items() if files else ():
        try:
            if checksum(checkpoint / name) != expected:
                return f"its file {name} is damaged: it has another checksum than when it was written."
        except OSError as error:
            return f"its file {name} cannot be read: {error.strerror}."
    return None


def checksum(file: Path) -> int:
    """The CRC-32 of a file, at about a gigabyte per second."""
    value = 0
    with file.open("rb") as content:
        while part := content.read(1 << 24):
            value = zlib.crc32(part, value)
    return value


def mark_incomplete(checkpoint: Path) -> None:
    """Marks a checkpoint before anything is written into it, and removes what an earlier one left there."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    mark = checkpoint / INCOMPLETE
    mark.write_text("This checkpoint is being written, or its writing was cut short.\n", encoding="utf-8")
    for path in checkpoint.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != mark:
            path.unlink(missing_ok=True)


def mark_complete(checkpoint: Path) -> None:
    """Lists the files of a checkpoint and removes its mark, after everything has been written."""
    (checkpoint / FILES).write_text(
        json.dumps(asdict(FileList.describe(checkpoint)), indent=1) + "\n", encoding="utf-8"
    )
    (checkpoint / INCOMPLETE).unlink(missing_ok=True)


def has_optimizer_state(checkpoint: Path) -> bool:
    """Whether a checkpoint has the optimizer's state, in one file or in those of FSDP or DeepSpeed."""
    return any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*"))


def _oldest_first(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, complete or not, in the order in which they were written."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name[11:].isdecimal()]
    return sorted(found, key=lambda path: (_order(path), int(path.name[11:])))


def _order(checkpoint: Path) -> int:
    files = FileList.read(checkpoint)
    return files.order if files else 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(number, int) and number >= 0 for number in value.values())


def readable_object(file: Path) -> dict[str, Any]:
    """The content of a file; empty if it cannot be read as an object of JSON."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
