"""What a rule of the advice decides."""

from dataclasses import dataclass


ADVISED, MEND, SOLVED, UNKNOWN = "a method", "mend the data", "nothing to learn", "cannot tell"
LABELS = {
    "sft": "SFT",
    "grpo": "RFT (GRPO)",
    "sft_then_rft": "SFT then RFT",
    "prefix_rft": "Prefix-RFT",
    "luffy": "LUFFY",
    "uft": "UFT",
    "hpt": "HPT",
    "pope": "POPE",
    "trapo": "TRAPO",
}
UNJUDGED = "not judged before the data is mended"
LAB = "docs/comparison.md"
MAP = "docs/which_method.md"


@dataclass(frozen=True)
class Decision:
    """
    Decision of a rule.

    Args:
        outcome (`str`): `ADVISED`, `MEND`, `SOLVED` or `UNKNOWN`.
        why (`str`): the reason, with its figures and its source.
        method (`str`, *optional*): name of its recipe in the lab, such as `sft_then_rft`; `None` unless `ADVISED`.
        runner_up (`str`, *optional*): the method to try next.
        would_change (`tuple[str, ...]`): figures at which the decision would be another one.
    """

    outcome: str
    why: str
    method: str | None = None
    runner_up: str | None = None
    would_change: tuple[str, ...] = ()
