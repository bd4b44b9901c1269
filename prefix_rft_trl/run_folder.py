"""What the folder of a run tells: whether the run has ended, and where it can go on."""

import json
from pathlib import Path
from typing import Any


CURVE = "curve.jsonl"
STATE = "trainer_state.json"


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's learning curve that have been written whole; see [`~prefix_rft_trl.curve.CurveWriter`]."""
    file = folder / CURVE
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def has_ended(folder: Path) -> bool:
    state = _state(folder)
    return state is not None and state["global_step"] >= state["max_steps"]


def last_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint of a run that has got furthest; `None` without any that was written whole."""
    whole = [path for path in Path(folder).glob("checkpoint-*") if path.name[11:].isdigit() and _state(path)]
    return str(max(whole, key=lambda path: int(path.name[11:]))) if whole else None


def _state(folder: Path) -> dict[str, Any] | None:
    """The state that training writes last, into the folder of a run and into that of each checkpoint."""
    try:
        return json.loads((folder / STATE).read_text())
    except (OSError, json.JSONDecodeError):
        return None
