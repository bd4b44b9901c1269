"""Verifiable rewards that cannot hang a run, and reward functions by name."""

from typing import TYPE_CHECKING

from prefix_rft_trl.utils.lazy import lazy_front


__all__ = [
    "FORMAT_REWARDS",
    "REWARDS",
    "MathAccuracyReward",
    "RewardFunction",
    "Verdict",
    "Verifier",
    "gsm8k_final_number",
    "load_reward",
    "math_accuracy_reward",
    "required_columns",
]

if TYPE_CHECKING:
    from .math_accuracy import MathAccuracyReward, gsm8k_final_number, math_accuracy_reward
    from .registry import FORMAT_REWARDS, REWARDS, RewardFunction, load_reward, required_columns
    from .verification.equivalence import Verdict
    from .verification.verifier import Verifier

__getattr__, __dir__ = lazy_front(
    __name__,
    {
        **dict.fromkeys(("MathAccuracyReward", "gsm8k_final_number", "math_accuracy_reward"), ".math_accuracy"),
        **dict.fromkeys(
            ("FORMAT_REWARDS", "REWARDS", "RewardFunction", "load_reward", "required_columns"), ".registry"
        ),
        "Verdict": ".verification.equivalence",
        "Verifier": ".verification.verifier",
    },
)
