"""Verifiable rewards that cannot hang a run, and reward functions by name."""

from .golds import gsm8k_final_number
from .math_accuracy import MathAccuracyReward, math_accuracy_reward
from .registry import REWARDS, RewardFunction, load_reward
from .verification.verifier import Verdict, Verifier


__all__ = [
    "MathAccuracyReward",
    "REWARDS",
    "RewardFunction",
    "Verdict",
    "Verifier",
    "gsm8k_final_number",
    "load_reward",
    "math_accuracy_reward",
]
