r"""The right answers of a row as datasets write them: bare, in dollar signs, in `\boxed{}`, behind `####`, several."""

import re
from decimal import Decimal
from typing import Any

from .answers import find_final_answer


_NOTHING = {"", "none", "null", "nan", "n/a", "na", "-"}


def acceptable_golds(solution: Any) -> tuple[str, ...]:
    r"""The answers that count as right, each alone.

    Args:
        solution: what a row holds: text, a number, or a list of either, of which any one is right. Of a text with a
            `\boxed{}` or a `####` the last one's content is taken.

    Returns:
        `tuple[str, ...]`: empty if the row names none: nothing, or the words that stand for it (`None`, `n/a`).
    """
    if isinstance(solution, (list, tuple)):
        return tuple(dict.fromkeys(gold for item in solution for gold in acceptable_golds(item)))
    if solution is None or isinstance(solution, bool) or not isinstance(solution, (str, int, float)):
        return ()
    text = f"{Decimal(f'{solution:.15g}'):f}" if isinstance(solution, float) else str(solution)  # 0.00001, no 1e-05
    stated = find_final_answer(text, markers=("####",))
    gold = (stated.text if stated else text).strip()
    return () if gold.lower() in _NOTHING else (gold,)


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def gsm8k_final_number(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    """1 if the last number of a response is that after `####` in the row's `answer`, the form that GSM8K gives.

    A response that has a `####` of its own is read after it. A row whose answer has no number gives `None`.
    """
    responses = (item if isinstance(item, str) else item[-1]["content"] for item in completions)
    return [_same_number(response, gold) for response, gold in zip(responses, answer, strict=True)]


def _same_number(response: str, gold: str) -> float | None:
    right, found = _last_number(gold), _last_number(response)
    return None if right is None else float(found == right)


def _last_number(text: str) -> float | None:
    numbers = _NUMBER.findall(text.rpartition("####")[2])
    return float(numbers[-1].replace(",", "")) if numbers else None
