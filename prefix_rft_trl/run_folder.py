"""What the folder of a run tells: whether the run has ended, and where it can go on."""

import json
from pathlib import Path
from typing import Any


CURVE = "curve.jsonl"
ENDED = "trainer_state.json"  # training writes it into the folder itself last of all


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's learning curve that have been written whole; see [`~prefix_rft_trl.curve.CurveWriter`]."""
    file = folder / CURVE
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def has_ended(folder: Path) -> bool:
    try:
        state = json.loads((folder / ENDED).read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return state["global_step"] >= state["max_steps"]


def last_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint of a run that has got furthest; `None` without any."""
    from transformers.trainer_utils import get_last_checkpoint

    return get_last_checkpoint(str(folder)) if Path(folder).is_dir() else None
