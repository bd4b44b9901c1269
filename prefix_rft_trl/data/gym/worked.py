"""Write worked solutions from the intermediate results that some tasks of reasoning-gym store with a problem."""

from collections.abc import Callable
from typing import Any


Metadata = dict[str, Any]


def _rounds(metadata: Metadata) -> str:
    rounds = enumerate(metadata["rounds"], 1)
    return "\n".join(f"Round {number}: {stage['cards']}, {stage['result']}" for number, stage in rounds)


def _common_factor(metadata: Metadata) -> str:
    factor = metadata["reduction_factor"]
    return "\n".join(
        f"{metadata[name]} / {factor} = {metadata[f'simplified_{name}']}" for name in ("numerator", "denominator")
    )


def _angles(metadata: Metadata) -> str:
    total, known = metadata["total_interior_sum"], metadata["sum_of_known_angles"]
    return f"All interior angles sum to {total}, the known ones to {known:g}."


def _counts(metadata: Metadata) -> str:
    return "\n".join(" ".join(map(str, state)) for state in metadata["states"])


WORKED: dict[str, Callable[[Metadata], str]] = {
    "base_conversion": lambda metadata: f"In base 10 it is {metadata['decimal_value']}.",
    "count_bits": lambda metadata: f"In binary it is {metadata['binary']}.",
    "count_primes": lambda metadata: f"The primes: {', '.join(map(str, metadata['primes']))}.",
    "fraction_simplification": _common_factor,
    "gsm_symbolic": lambda metadata: metadata["answer_cot"].rpartition("####")[0],  # the answer follows in tags
    "mahjong_puzzle": _rounds,
    "number_sequence": lambda metadata: f"The rule: {metadata['rule']}.",
    "simple_geometry": _angles,
    "string_manipulation": lambda metadata: "\n".join(metadata["states"]),
    "string_splitting": _counts,
    "string_synthesis": _counts,
}


def worked_solution(item: dict[str, Any]) -> str | None:
    """The steps of an item of reasoning-gym and its answer in `<answer>` tags.

    Returns:
        `str` or `None`: `None` where the item stores no steps, or steps that end in another answer.
    """
    metadata, answer = item["metadata"], item["answer"]
    write = WORKED.get(metadata["source_dataset"])
    if write is None or answer is None or _ends_in_another_answer(metadata, answer):
        return None
    return f"{write(metadata).strip()}\n<answer>{answer}</answer>"


def _ends_in_another_answer(metadata: Metadata, answer: str) -> bool:
    if "answer_cot" in metadata:
        return metadata["answer_cot"].rpartition("####")[2].strip().removesuffix(".0") != answer
    if "states" in metadata:
        last = metadata["states"][-1]
        return (last if isinstance(last, str) else " ".join(map(str, last))) != answer
    return False
