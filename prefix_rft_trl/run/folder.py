"""What the folder of a run tells: whether the run has ended, and where it can go on."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


CURVE = "curve.jsonl"
STATE = "trainer_state.json"
INCOMPLETE = "checkpoint-is-incomplete.txt"  # transformers marks with it as well
FILES = "checkpoint_files.json"


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's learning curve that have been written whole."""
    file = folder / CURVE
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def has_ended(folder: Path) -> bool:
    state = _state(folder)
    return state is not None and state["global_step"] >= state["max_steps"]


def last_checkpoint(folder: str | Path, report: Callable[[str], None] | None = None) -> str | None:
    """The checkpoint of a run that was written last; `None` without any that was written whole.

    Args:
        folder (`str` or `Path`): of the run.
        report (`Callable`, *optional*): told of each checkpoint that is passed over since it is broken, and why.
    """
    found = sorted(path for path in Path(folder).glob("checkpoint-*") if path.name[11:].isdigit())
    faults = {path: fault_of(path) for path in found}
    for path, fault in faults.items():
        if fault is not None and report is not None:
            report(f"{path} is passed over: {fault}")
    whole = [path for path, fault in faults.items() if fault is None]
    return str(max(whole, key=_written)) if whole else None


def fault_of(checkpoint: Path) -> str | None:
    """Why nothing can go on from a checkpoint; `None` if it is whole.

    A checkpoint without a list of its files is taken for whole if it has the state that training writes last.
    """
    if not checkpoint.is_dir():
        return "there is no such folder."
    if (checkpoint / INCOMPLETE).exists():
        return "it was not written to its end."
    if _state(checkpoint) is None:
        return f"it has no readable {STATE}, which is written last."
    listed = checkpoint / FILES
    content = _read(listed) if listed.exists() else {"sizes": {}}
    if content is None:
        return f"its {FILES} cannot be read."
    for name, size in content["sizes"].items():
        file = checkpoint / name
        if not file.is_file():
            return f"its file {name} is missing."
        if file.stat().st_size != size:
            return f"its file {name} has {file.stat().st_size} bytes, and had {size}."
    return None


def open_checkpoint(checkpoint: Path) -> None:
    """Marks a checkpoint as one that is being written, before anything is; what an earlier one has left there goes."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    mark = checkpoint / INCOMPLETE
    mark.write_text("This checkpoint is being written, or its writing was cut short.\n")
    for path in checkpoint.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != mark:
            path.unlink(missing_ok=True)


def close_checkpoint(checkpoint: Path) -> None:
    """Marks a checkpoint as whole, after everything is written, and lists its files."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in (INCOMPLETE, FILES))
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    (checkpoint / FILES).write_text(json.dumps({"written": time.time(), "sizes": sizes}, indent=1) + "\n")
    (checkpoint / INCOMPLETE).unlink(missing_ok=True)


def holds_optimizer(checkpoint: Path) -> bool:
    """Whether a checkpoint has the optimizer's state, as one file or as those of FSDP or DeepSpeed."""
    return any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*"))


def _written(checkpoint: Path) -> tuple[float, int]:
    """When a whole checkpoint was written: as it says itself, or else by the time of the file that is written last."""
    content = _read(checkpoint / FILES) or {"written": (checkpoint / STATE).stat().st_mtime}
    return content["written"], int(checkpoint.name[11:])


def _state(folder: Path) -> dict[str, Any] | None:
    """The state that training writes last, into the folder of a run and into that of each checkpoint."""
    return _read(folder / STATE)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None
