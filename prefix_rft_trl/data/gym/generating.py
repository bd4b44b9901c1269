"""Problems of a task, made in a process of their own.

Some tasks go through sets of words, whose order differs from process to process: by their seed alone the processes of
a launch would each get another dataset, and so would a run that is resumed. The process here has a fixed hash seed.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tasks import make_task
from .worked import worked_solution


_PROGRAM = (
    "import json, sys; from prefix_rft_trl.data.gym.generating import write_rows; write_rows(**json.load(sys.stdin))"
)


def generate(task: str, options: Mapping[str, Any], parts: Sequence[tuple[int, int]]) -> list[list[dict[str, Any]]]:
    """The rows of a task, a list for each part.

    Args:
        task (`str`), options (`Mapping[str, Any]`): as of [`make_task`].
        parts (`Sequence[tuple[int, int]]`): seed and number of the problems of each part.

    Raises:
        ValueError: if there is no such task, if the options do not fit it, or if it cannot make the problems.
    """
    make_task(task, options)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        asked = json.dumps({"task": task, "options": dict(options), "parts": parts, "file": str(file)})
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        # Some tasks print while they work
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=asked, text=True, env=environment, stdout=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise ValueError(
                f"the task {task!r} of reasoning-gym could not make its problems with the options {dict(options)}; "
                "what it said stands above."
            )
        rows = iter([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
    return [[next(rows) for _ in range(size)] for _, size in parts]


def write_rows(task: str, options: dict[str, Any], parts: list[tuple[int, int]], file: str) -> None:
    """What runs in the other process: a line for each problem."""
    from tqdm import tqdm

    is_first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    bar = tqdm(
        total=sum(size for _, size in parts), desc=f"Generating {task}", delay=2, disable=None if is_first else True
    )
    with open(file, "w", encoding="utf-8") as rows, bar:
        for seed, size in parts:
            problems = make_task(task, options, seed, max(size, 1))
            for number in range(size):
                rows.write(json.dumps(row_of(problems[number], task, options)) + "\n")
                bar.update()


def row_of(item: dict[str, Any], task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the dataset: `prompt`, `completion`, `solution`, and `entry`, all that the task's scorer needs.

    The entry is a Python literal: JSON would make lists of tuples and text of numbers, which scorers tell apart.
    """
    entry = {"task": task, "options": plain(dict(options)), "item": plain(item)}
    return {
        "prompt": item["question"],
        "completion": worked_solution(item),
        "solution": item["answer"],
        "entry": repr(entry),
    }


def plain(value: Any) -> Any:
    """The value made of Python's own types alone, as `ast.literal_eval` reads them; text of what is none of them."""
    if isinstance(value, dict):
        return {plain(key): plain(content) for key, content in value.items()}
    if isinstance(value, (list, tuple, set)):
        return _base(value, (list, tuple, set))(plain(content) for content in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return None if value is None else _base(value, (bool, int, float, str))(value)
    return plain(value.item()) if hasattr(value, "item") else str(value)  # a number of numpy; a fraction, a date


def _base(value: Any, kinds: tuple[type, ...]) -> type:
    return next(kind for kind in kinds if isinstance(value, kind))


def read_entry(text: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Task, options and item of a row's `entry`."""
    entry = ast.literal_eval(text)
    return entry["task"], entry["options"], entry["item"]
