"""Reward functions by name, for recipes and the command line."""

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


RewardFunction = Callable[..., list[float | None]]

REWARDS = {
    "math_accuracy_reward": "prefix_rft_trl.rewards.math_accuracy.MathAccuracyReward",
    "gsm8k_final_number": "prefix_rft_trl.rewards.golds.gsm8k_final_number",
    "lab_exact_answer": "prefix_rft_trl.lab.exact_answer_reward",
    "lab_worked_answer": "prefix_rft_trl.lab.worked_answer_reward",
    "lab_step_by_step": "prefix_rft_trl.lab.step_by_step_reward",
    "reasoning_gym_score": "prefix_rft_trl.data.gym.scoring.ReasoningGymScore",
    "accuracy_reward": "trl.rewards.accuracy_reward",
    "reasoning_accuracy_reward": "trl.rewards.reasoning_accuracy_reward",
    "think_format_reward": "trl.rewards.think_format_reward",
    "get_cosine_scaled_reward": "trl.rewards.get_cosine_scaled_reward",
    "get_repetition_penalty_reward": "trl.rewards.get_repetition_penalty_reward",
    "get_soft_overlong_punishment": "trl.rewards.get_soft_overlong_punishment",
}


class OfMessages:
    """A reward that reads messages alone, as those of TRL do, for completions that are text too."""

    def __init__(self, reward: RewardFunction):
        self.reward = reward
        self.__name__ = reward.__name__

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        messages = [
            [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
            for completion in completions
        ]
        return self.reward(completions=messages, **columns)


def load_reward(name: str, arguments: dict[str, Any] | None = None) -> RewardFunction:
    """The reward function of a registered name, or of a dotted path such as `my_package.rewards.my_reward`.

    Args:
        name (`str`): of a function, of a class whose objects are called, or of a function `get_...` that makes one.
        arguments (`dict`, *optional*): what a class or a `get_...` is called with.

    Raises:
        ValueError: if there is none; the message lists the registered names. If the arguments do not fit it.
    """
    path = REWARDS.get(name, name)
    found = _attribute(path, name)
    if inspect.isclass(found) or path.rpartition(".")[2].startswith("get_"):
        reward = _made(found, name, arguments or {})
    elif arguments:
        raise ValueError(
            f"The reward {name!r} is a function that takes no arguments of its own, found: {', '.join(arguments)}. "
            "Take them out of `reward_kwargs`."
        )
    else:
        reward = found
    return OfMessages(reward) if path.startswith("trl.") else reward


def _attribute(path: str, name: str) -> Any:
    module_name, _, attribute = path.rpartition(".")
    if not module_name:
        raise ValueError(f"Unknown reward {name!r}. Known: {', '.join(REWARDS)}; or give a dotted path.")
    if name not in REWARDS and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a reward in a file beside the recipe, as with `trl grpo`
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Cannot load the reward {name!r}: {error}. Registered: {', '.join(REWARDS)}.") from error


def _made(maker: Any, name: str, arguments: dict[str, Any]) -> RewardFunction:
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"The reward {name!r}: {error}. It takes: {inspect.signature(maker)}. Set them in `reward_kwargs`, such "
            f"as `reward_kwargs: {{{name}: {{...}}}}`."
        ) from error
    return maker(**arguments)
