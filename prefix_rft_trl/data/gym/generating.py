"""Generate the problems of a task in a process of its own.

Some tasks iterate over sets of words, whose order differs between processes: with the same seed, every process of a
launch, and every resumed run, would get another dataset. The process here has a fixed hash seed.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from prefix_rft_trl.utils.processes import start_child

from .tasks import make_task
from .worked import worked_solution


_PROGRAM = """
import json, sys
from prefix_rft_trl.utils.processes import end_with_parent
end_with_parent(at_once=True)
from prefix_rft_trl.data.gym.generating import write_rows
write_rows(**json.load(sys.stdin))
"""


def generate(task: str, options: Mapping[str, Any], parts: Sequence[tuple[int, int]]) -> list[list[dict[str, Any]]]:
    """The rows of a task, one list per part.

    Args:
        task (`str`), options (`Mapping[str, Any]`): see [`make_task`].
        parts (`Sequence[tuple[int, int]]`): seed and number of problems of each part.

    Raises:
        ValueError: if there is no such task, if the options do not fit it, or if it cannot generate the problems.
    """
    make_task(task, options)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:  # without a name: nothing is left of it
        process = start_child(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            pass_fds=[file.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # some tasks print
            text=True,
        )
        arguments = {"task": task, "options": dict(options), "parts": parts, "file": file.fileno()}
        try:
            process.communicate(json.dumps(arguments))
        finally:
            process.kill()  # if the wait for it was interrupted
        if process.returncode != 0:
            raise ValueError(
                f"the task {task!r} of reasoning-gym could not generate its problems with the options "
                f"{dict(options)}; its error is printed above."
            )
        file.seek(0)
        rows = iter([json.loads(line) for line in file])
    return [[next(rows) for _ in range(size)] for _, size in parts]


def write_rows(task: str, options: dict[str, Any], parts: list[tuple[int, int]], file: int) -> None:
    """Writes one line per problem to a file descriptor; runs in the other process."""
    from tqdm import tqdm

    is_first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    total = sum(size for _, size in parts)
    bar = tqdm(total=total, desc=f"Generating {task}", delay=2, disable=None if is_first else True)
    with open(file, "w", encoding="utf-8") as rows, bar:
        for seed, size in parts:
            problems = make_task(task, options, seed, max(size, 1))
            for number in range(size):
                rows.write(json.dumps(make_row(problems[number], task, options)) + "\n")
                bar.update()


def make_row(item: dict[str, Any], task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the dataset: `prompt`, `completion`, `solution`, and `entry` with everything that the scorer needs.

    The entry is a Python literal: JSON would turn tuples into lists and numeric keys into text, which scorers tell
    apart.
    """
    entry = {"task": task, "options": to_literal(dict(options)), "item": to_literal(item)}
    return {
        "prompt": item["question"],
        "completion": worked_solution(item),
        "solution": item["answer"],
        "entry": repr(entry),
    }


def read_entry(text: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Task, options and item of a row's `entry`. Raises `ValueError` if it is of another form."""
    try:
        entry = ast.literal_eval(text)
        return f"{entry['task']}", dict(entry["options"]), dict(entry["item"])
    except (LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            f"a row's 'entry' is {text!r:.60}, and not what `dataset_name: reasoning_gym/<task>` makes of a problem. "
            "Name the task instead of a file of its problems."
        ) from error


def to_literal(value: Any) -> Any:
    """The value in Python's own types alone, which `ast.literal_eval` reads; text for a value that has none."""
    if isinstance(value, dict):
        return {to_literal(key): to_literal(content) for key, content in value.items()}
    for collection in (list, tuple, set):
        if isinstance(value, collection):
            return collection(map(to_literal, value))
    for scalar in (bool, int, float, str):
        if isinstance(value, scalar):
            return scalar(value)
    return (
        None if value is None else to_literal(value.item()) if hasattr(value, "item") else str(value)
    )  # a NumPy number; a fraction, a date
