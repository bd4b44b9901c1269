"""Reading the folder of a run: its curve, whether it is finished, and which of its checkpoints are complete."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


CURVE = "curve.jsonl"
STATE = "trainer_state.json"
INCOMPLETE = "checkpoint-is-incomplete.txt"  # transformers uses the same mark
FILES = "checkpoint_files.json"


def read_curve(folder: str | Path) -> list[dict[str, Any]]:
    """The measurements of a run's learning curve, without a last line that is still being written."""
    file = Path(folder) / CURVE
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def is_finished(folder: str | Path) -> bool:
    """Whether a run reached its last step. Its state in the folder is what training writes last."""
    state = _read_json(Path(folder) / STATE)
    return state is not None and state["global_step"] >= state["max_steps"]


def last_checkpoint(folder: str | Path, on_incomplete: Callable[[str], None] | None = None) -> str | None:
    """The complete checkpoint of a run that was written last; `None` if there is none.

    Args:
        folder (`str` or `Path`): the folder of the run.
        on_incomplete (`Callable`, *optional*): called with a message for each checkpoint that is skipped.
    """
    found = sorted(path for path in Path(folder).glob("checkpoint-*") if path.name[11:].isdigit())
    reasons = {path: why_incomplete(path) for path in found}
    for path, reason in reasons.items():
        if reason is not None and on_incomplete is not None:
            on_incomplete(f"Skipping {path}: {reason}")
    complete = [path for path, reason in reasons.items() if reason is None]
    return str(max(complete, key=_time_written)) if complete else None


def why_incomplete(checkpoint: Path) -> str | None:
    """Why a run cannot be resumed from a checkpoint; `None` if it is complete.

    A checkpoint without a list of its files, as other trainers write them, counts as complete if it has the state that
    training writes last.
    """
    if not checkpoint.is_dir():
        return "there is no such folder."
    if (checkpoint / INCOMPLETE).exists():
        return "it was not written to its end."
    if _read_json(checkpoint / STATE) is None:
        return f"it has no readable {STATE}, which is written last."
    files = checkpoint / FILES
    content = _read_json(files) if files.exists() else {"sizes": {}}
    if content is None:
        return f"its {FILES} cannot be read."
    for name, size in content["sizes"].items():
        file = checkpoint / name
        if not file.is_file():
            return f"its file {name} is missing."
        if file.stat().st_size != size:
            return f"its file {name} has {file.stat().st_size} bytes instead of {size}."
    return None


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
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in (INCOMPLETE, FILES))
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    (checkpoint / FILES).write_text(
        json.dumps({"written": time.time(), "sizes": sizes}, indent=1) + "\n", encoding="utf-8"
    )
    (checkpoint / INCOMPLETE).unlink(missing_ok=True)


def has_optimizer_state(checkpoint: Path) -> bool:
    """Whether a checkpoint has the optimizer's state, in one file or in those of FSDP or DeepSpeed."""
    return any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*"))


def _time_written(checkpoint: Path) -> tuple[float, int]:
    """When a complete checkpoint was written, by its list of files or by the file that is written last; its step."""
    content = _read_json(checkpoint / FILES) or {"written": (checkpoint / STATE).stat().st_mtime}
    return content["written"], int(checkpoint.name[11:])


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
