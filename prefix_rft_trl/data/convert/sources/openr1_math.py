"""Read OpenR1-Math, solutions of DeepSeek-R1: the subset that LUFFY published, or the complete dataset.

The subset has a `prompt` with a system message of its own, which the paper leaves out, and one solution per problem.
The complete dataset has two to four generations per problem, each marked correct or not: by Math-Verify, and, mostly
where that could not decide, by Llama 3.3 70B as a judge.
"""

from collections.abc import Sequence
from typing import Any

from prefix_rft_trl.data.convert.rows import SourceProblem, Unusable

from .reading import Reader, SourceRow, read_demonstrations, read_prompt, read_solution, read_text


SUBSET_COLUMNS = ["prompt", "target", "reward_model"]
COMPLETE_COLUMNS = ["problem", "answer", "generations", "correctness_math_verify"]
_OPTIONAL_COLUMNS = ["correctness_llama", "is_reasoning_complete", "finish_reasons"]


def openr1_math(found: Sequence[str], llama_marks: bool = False) -> Reader:
    """A reader of either form, by the columns; `llama_marks` accepts what only Llama marked correct too."""
    if set(SUBSET_COLUMNS) <= set(found):
        return Reader(SUBSET_COLUMNS, read_subset_row)
    if set(COMPLETE_COLUMNS) <= set(found):
        columns = COMPLETE_COLUMNS + [name for name in _OPTIONAL_COLUMNS if name in found]
        return Reader(columns, lambda row: read_complete_row(row, llama_marks))
    raise ValueError(
        f"`openr1-math` needs the columns {', '.join(SUBSET_COLUMNS)} (the 46k subset) or "
        f"{', '.join(COMPLETE_COLUMNS)} (OpenR1-Math-220k), and the dataset has neither; it has: {', '.join(found)}."
    )


def read_subset_row(row: SourceRow) -> SourceProblem:
    prompt = read_prompt(row["prompt"])
    problem = (prompt if isinstance(prompt, str) else prompt[-1]["content"]).strip()
    demonstrations = read_demonstrations(row["target"])
    if not demonstrations:
        raise Unusable("no solution of DeepSeek-R1")
    return SourceProblem(problem, demonstrations, read_solution((row["reward_model"] or {}).get("ground_truth")))


def read_complete_row(row: SourceRow, llama_marks: bool) -> SourceProblem:
    problem, solution = read_text(row["problem"], "problem"), read_solution(row["answer"])
    generations = row["generations"] or []
    faults = [_fault(row, place, llama_marks) for place in range(len(generations))]
    right = tuple(text for text, fault in zip(generations, faults, strict=True) if not fault)
    if not right:
        raise Unusable("no generation that is marked correct and complete")
    return SourceProblem(problem, right, solution, tuple(filter(None, faults)))


def _fault(row: SourceRow, place: int, llama_marks: bool) -> str:
    """The reason why a generation is not a demonstration; empty if it is one."""
    marks = ["correctness_math_verify", *(["correctness_llama"] if llama_marks else [])]
    if not (row["generations"][place] or "").strip():
        return "empty"
    if not any(_entry(row.get(name), place) is True for name in marks):
        return "not marked correct"
    is_complete = _entry(row.get("is_reasoning_complete"), place) is not False
    return "" if is_complete and _entry(row.get("finish_reasons"), place) != "length" else "cut off"


def _entry(values: list[Any] | None, place: int) -> Any:
    return values[place] if values and place < len(values) else None
