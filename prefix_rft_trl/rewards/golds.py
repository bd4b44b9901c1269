r"""Read a row's right answers as datasets write them: bare, in dollar signs, in `\boxed{}`, behind `####`, several."""

from decimal import Decimal
from typing import Any

from .answers import find_final_answer


_NO_ANSWER = {"", "none", "null", "nan", "n/a", "na", "-"}


def acceptable_golds(solution: Any) -> tuple[str, ...]:
    r"""The bare answers that count as right.

    Args:
        solution: a row's text or number, or a list of either, of which any one is right. From a text with a
            `\boxed{}` or a `####`, the content of the last one is taken.

    Returns:
        `tuple[str, ...]`: empty if the row names no answer, or a placeholder such as `None` or `n/a`.
    """
    if isinstance(solution, (list, tuple)):
        return tuple(dict.fromkeys(gold for item in solution for gold in acceptable_golds(item)))
    if solution is None or isinstance(solution, bool) or not isinstance(solution, (str, int, float)):
        return ()
    text = f"{Decimal(f'{solution:.15g}'):f}" if isinstance(solution, float) else str(solution)  # 0.00001, not 1e-05
    stated = find_final_answer(text, markers=("####",))
    gold = (stated.text if stated else text).strip()
    return () if gold.lower() in _NO_ANSWER else (gold,)
