"""Curves of runs that were trained for the documentation: docs/real_model.md."""

import json
from pathlib import Path
from typing import Any


_RESULTS = Path(__file__).with_name("recorded_results.json")


def recorded_results() -> dict[str, Any]:
    """
    The results of `prefix-rft compare recipes/smollm2`, in the form of its `results.json`.

    Returns:
        `dict`: `command` and `tables`. A table has `rows`, a row `experiments`, an experiment one of its `runs` for
        each seed, and a run a `curve` with a line for each measurement: `step`, `accuracy` on 64 held-out problems,
        `seconds` of training so far, ...
    """
    found: dict[str, Any] = json.loads(_RESULTS.read_text(encoding="utf-8"))
    return found
