"""OpenR1-Math: solutions of DeepSeek-R1, as the subset that LUFFY published and as the whole.

The subset has a `prompt` with a system message of its own, which the paper leaves out, and one solution a problem. The
whole has two to four generations a problem, each marked correct or not: by Math-Verify, and, mostly where that could
not tell, by Llama 3.3 70B as a judge.
"""

from collections.abc import Sequence
from typing import Any

from prefix_rft_trl.data.convert.rows import Problem, Unusable, solution_of

from .reading import Reader, Row, demonstrations_at, prompt_at, text_of


SUBSET_COLUMNS = ["prompt", "target", "reward_model"]
WHOLE_COLUMNS = ["problem", "answer", "generations", "correctness_math_verify"]
_OPTIONAL_COLUMNS = ["correctness_llama", "is_reasoning_complete", "finish_reasons"]


def openr1_math(found: Sequence[str], llama_marks: bool = False) -> Reader:
    """Either form, by the columns.

    Args:
        found (`Sequence[str]`): columns of the dataset.
        llama_marks (`bool`): whether a generation that only Llama marked correct is taken too.

    Raises:
        ValueError: if the columns are those of neither.
    """
    if set(SUBSET_COLUMNS) <= set(found):
        return Reader(SUBSET_COLUMNS, read_subset)
    if set(WHOLE_COLUMNS) <= set(found):
        columns = WHOLE_COLUMNS + [name for name in _OPTIONAL_COLUMNS if name in found]
        return Reader(columns, lambda row: read_whole(row, llama_marks))
    raise ValueError(
        f"`openr1-math` needs the columns {', '.join(SUBSET_COLUMNS)} (the 46k subset) or "
        f"{', '.join(WHOLE_COLUMNS)} (OpenR1-Math-220k), and the dataset has neither; it has: {', '.join(found)}."
    )


def read_subset(row: Row) -> Problem:
    prompt = prompt_at(row["prompt"])
    problem = (prompt if isinstance(prompt, str) else prompt[-1]["content"]).strip()
    demonstrations = demonstrations_at(row["target"])
    if not demonstrations:
        raise Unusable("no solution of DeepSeek-R1")
    return Problem(problem, demonstrations, solution_of((row["reward_model"] or {}).get("ground_truth")))


def read_whole(row: Row, llama_marks: bool) -> Problem:
    problem, solution = text_of(row["problem"], "problem"), solution_of(row["answer"])
    generations = row["generations"] or []
    faults = [_fault(row, place, llama_marks) for place in range(len(generations))]
    right = tuple(text for text, fault in zip(generations, faults, strict=True) if not fault)
    if not right:
        raise Unusable("no generation that is marked correct and complete")
    return Problem(problem, right, solution, tuple(fault for fault in faults if fault))


def _fault(row: Row, place: int, llama_marks: bool) -> str:
    """Why a generation is no demonstration; empty if it is one."""
    marks = ["correctness_math_verify", *(["correctness_llama"] if llama_marks else [])]
    if not (row["generations"][place] or "").strip():
        return "empty"
    if not any(_at(row.get(name), place) is True for name in marks):
        return "not marked correct"
    if _at(row.get("is_reasoning_complete"), place) is False or _at(row.get("finish_reasons"), place) == "length":
        return "cut off"
    return ""


def _at(values: list[Any] | None, place: int) -> Any:
    return values[place] if values and place < len(values) else None
