"""Groups whose demonstration is trained or not by what they have sampled in this step."""

from typing import Any

import torch
from trl import GRPOTrainer

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.advantages import total_rewards
from prefix_rft_trl.method.gates import rollouts_that_leave
from prefix_rft_trl.rollouts import RolloutBatch
from prefix_rft_trl.run.success_history import success_rates


class GatedGroups(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with the settings `prefix_gate` and `prefix_gate_drops_rollouts`.

    A rollout that leaves is masked in the loss, not in attention. A hybrid one has no reward any more, as one that no
    function could score, so it is not in the mean of its group. `rollout_batch` has the rewards of all.
    """

    args: PrefixGRPOConfig
    rollout_batch: RolloutBatch
    _leaves: torch.Tensor | None = None  # rollouts of this process

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        rewards = super()._calculate_rewards(*args)
        totals = total_rewards(rewards, self.reward_weights.to(rewards.device))
        self.rollout_batch.rewards, self._leaves = totals, None
        gate = getattr(self.args, "prefix_gate", None)
        if gate is None or not self.model.training:
            return rewards
        hybrid = self.accelerator.gather(self.rollout_batch.hybrid(rewards.device))
        rates = success_rates(totals, hybrid, self.num_generations, self.args.prefix_success_reward)
        demonstrations, sampled = rollouts_that_leave(rates, hybrid, gate, self.args.prefix_gate_drops_rollouts)
        self._metrics["train"]["prefix/gate_open"].append(1 - (demonstrations.sum() / hybrid.sum()).item())
        self._leaves = (demonstrations | sampled).view(self.accelerator.num_processes, -1)[
            self.accelerator.process_index
        ]
        return rewards.masked_fill(demonstrations.unsqueeze(1), torch.nan)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if self._leaves is None or not self.model.training:
            return outputs
        completion_mask = outputs["completion_mask"]
        tool_mask = outputs.get("tool_mask", torch.ones_like(completion_mask))
        of_policy = tool_mask
        tool_mask = tool_mask.masked_fill(self._leaves.unsqueeze(1), 0)
        sampled = (completion_mask * of_policy).sum(dim=1) - self.rollout_batch.prefix_lengths(completion_mask.device)
        counts = torch.stack([(completion_mask * tool_mask).sum(), (sampled * self._leaves).sum()])
        tokens, left = self.accelerator.reduce(counts, reduction="sum")
        rollouts = len(completion_mask) * self.accelerator.num_processes
        self._metrics["train"]["prefix/gate_left_tokens"].append(left.item() / rollouts)
        return outputs | {"tool_mask": tool_mask, "num_items_in_batch": tokens}
