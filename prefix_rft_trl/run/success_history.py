"""The policy's success on each problem so far, for prefixes that adapt to it."""

import json
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from prefix_rft_trl.utils.hashing import stable_hash


NAME_IN_0_6_0 = "ProblemMemory"


def problem_key(prompt: Any) -> int:
    """A number from 0 to 2**63 - 1 that identifies a prompt, text or messages, on every process and in every run."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, default=str)
    return stable_hash(text) >> 1


def success_rates(
    rewards: torch.Tensor, hybrid: torch.Tensor, num_generations: int, success_reward: float
) -> torch.Tensor:
    """Share of a group's on-policy rollouts whose reward is at least `success_reward`.

    Args:
        rewards (`torch.Tensor`): shape (rollouts,), group after group; NaN, where there is no score, is no success.
        hybrid (`torch.Tensor`): boolean, shape (rollouts,). In a group of only hybrid rollouts all of them count.
        num_generations (`int`): rollouts in a group.
        success_reward (`float`): smallest reward of a rollout that solved its problem.

    Returns:
        `torch.Tensor`: shape (groups,).
    """
    solved = (rewards >= success_reward).view(-1, num_generations)
    counted = ~hybrid.view(-1, num_generations)
    counted = counted | ~counted.any(dim=1, keepdim=True)
    return (solved & counted).sum(dim=1) / counted.sum(dim=1)


class SuccessHistory(TrainerCallback, ExportableState):
    """The success rate of each problem on its last attempt, and the best so far. It is saved in checkpoints."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.best: dict[str, float] = {}

    def remember_rollouts(
        self,
        prompts: list[Any],
        prefixes: list[list[int]],
        rewards: torch.Tensor,
        num_generations: int,
        success_reward: float,
        accelerator: Accelerator,
    ) -> None:
        """Records a generation batch: prompts and prefixes of this process, rewards of all, shape (rollouts,)."""
        local = [[problem_key(prompt), bool(prefix)] for prompt, prefix in zip(prompts, prefixes, strict=True)]
        keys, hybrid = accelerator.gather(torch.tensor(local, device=accelerator.device)).unbind(dim=1)
        rates = success_rates(rewards, hybrid.bool(), num_generations, success_reward)
        self.remember(keys[::num_generations].tolist(), rates.tolist())

    def remember(self, keys: list[int], rates: list[float]) -> None:
        for key, rate in zip(map(str, keys), rates, strict=True):
            self.last[key] = rate
            self.best[key] = max(rate, self.best.get(key, 0.0))

    def success_rate(self, key: int) -> float:
        """Rate of the last attempt; before the first one the mean over attempted problems, at the very start 0."""
        return self.last.get(str(key), sum(self.last.values()) / max(len(self.last), 1))

    def has_failed(self, key: int) -> bool:
        """Whether a problem was attempted, and none of its on-policy rollouts ever solved it."""
        return self.best.get(str(key)) == 0.0

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"last": self.last, "best": self.best}}

    def on_train_begin(self, args, state, control, **kwargs):
        # The Trainer restores callbacks only with `restore_callback_states_from_checkpoint`, and fails to save one
        # whose name the loaded state lacks
        name = type(self).__name__
        saved = state.stateful_callbacks.pop(NAME_IN_0_6_0, None) or state.stateful_callbacks.get(name)
        if isinstance(saved, dict):
            self.last, self.best = saved["attributes"]["last"], saved["attributes"]["best"]
        state.stateful_callbacks.setdefault(name, self.state())
