"""Worked solutions, where a task of reasoning-gym keeps what one writes down on the way to the answer."""

from collections.abc import Callable
from typing import Any


def _reasoning(metadata: dict[str, Any]) -> str:
    return metadata["answer_cot"].rpartition("####")[0]  # the answer follows in its own tags


def _strings(metadata: dict[str, Any]) -> str:
    return "\n".join(metadata["states"])


def _counts(metadata: dict[str, Any]) -> str:
    return "\n".join(" ".join(map(str, state)) for state in metadata["states"])


def _rounds(metadata: dict[str, Any]) -> str:
    return "\n".join(
        f"Round {number}: {of_round['cards']}, {of_round['result']}"
        for number, of_round in enumerate(metadata["rounds"], 1)
    )


def _rule(metadata: dict[str, Any]) -> str:
    return f"The rule: {metadata['rule']}."


def _primes(metadata: dict[str, Any]) -> str:
    return f"The primes: {', '.join(map(str, metadata['primes']))}."


def _decimal_value(metadata: dict[str, Any]) -> str:
    return f"In base 10 it is {metadata['decimal_value']}."


def _binary(metadata: dict[str, Any]) -> str:
    return f"In binary it is {metadata['binary']}."


def _common_factor(metadata: dict[str, Any]) -> str:
    factor = metadata["reduction_factor"]
    return "\n".join(
        f"{metadata[name]} / {factor} = {metadata[f'simplified_{name}']}" for name in ("numerator", "denominator")
    )


def _angles(metadata: dict[str, Any]) -> str:
    return (
        f"All interior angles sum to {metadata['total_interior_sum']}, the known ones to "
        f"{metadata['sum_of_known_angles']:g}."
    )


WORKED: dict[str, Callable[[dict[str, Any]], str]] = {
    "base_conversion": _decimal_value,
    "count_bits": _binary,
    "count_primes": _primes,
    "fraction_simplification": _common_factor,
    "gsm_symbolic": _reasoning,
    "mahjong_puzzle": _rounds,
    "number_sequence": _rule,
    "simple_geometry": _angles,
    "string_manipulation": _strings,
    "string_splitting": _counts,
    "string_synthesis": _counts,
}


def worked_solution(item: dict[str, Any]) -> str | None:
    """The steps of an item of reasoning-gym and its answer in `<answer>` tags; `None` where it keeps no steps.

    Where the steps end in an answer of their own, it is the item's.
    """
    metadata, answer = item["metadata"], item["answer"]
    write = WORKED.get(metadata["source_dataset"])
    if write is None or answer is None or _ends_otherwise(metadata, answer):
        return None
    return f"{write(metadata).strip()}\n<answer>{answer}</answer>"


def _ends_otherwise(metadata: dict[str, Any], answer: str) -> bool:
    if "answer_cot" in metadata:
        return metadata["answer_cot"].rpartition("####")[2].strip().removesuffix(".0") != answer
    if "states" in metadata:
        last = metadata["states"][-1]
        return (last if isinstance(last, str) else " ".join(map(str, last))) != answer
    return False
