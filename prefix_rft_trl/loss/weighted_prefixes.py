"""Weights of the tokens of demonstrations, and TRL's loss with them.

Each rollout has an advantage for its prefix and one for its continuation, from the rewards of all processes. The
weights of prefix tokens need the entropies of the loss's forward pass, and TRL reads the advantages after that pass,
so they are set in between.
"""

from typing import Any

import torch

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.advantages import on_policy_baseline_advantages
from prefix_rft_trl.method.normalizations import prefix_shares
from prefix_rft_trl.method.prefixes import spread_over_spans, token_noise
from prefix_rft_trl.method.token_weights import prefix_span_mask
from prefix_rft_trl.metrics import TokenSums, clipped_tokens, ratio
from prefix_rft_trl.passes.lean_passes import LeanPasses
from prefix_rft_trl.rollouts import RolloutBatch
from prefix_rft_trl.utils.patching import replaced

from .another_loss import warn_of_another_loss
from .sampled_alone import all_processes, masks_of_sampled_tokens, without_prefixes


CLIPPING_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")  # those whose gradient is 0 beyond PPO's bounds


class WeightedPrefixes(LeanPasses):
    """Mixin for a [`~trl.GRPOTrainer`] with a `rollout_batch`: gives each prefix token the weight of its settings."""

    args: PrefixGRPOConfig
    rollout_batch: RolloutBatch
    extends_grpo: bool
    _has_weighted_prefixes = False

    def __init__(self, *args: Any, **named: Any):
        self._token_sums = TokenSums()
        super().__init__(*args, **named)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        return outputs | self._prefix_tensors(outputs) if self.extends_grpo and self.model.training else outputs

    def _prefix_tensors(self, outputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Tensors about prefixes that the loss reads, each of shape (rollouts, ...), in addition to TRL's."""
        lengths = self.rollout_batch.prefix_lengths(self.accelerator.device)
        prefix_mask = prefix_span_mask(self.rollout_batch.spans, self._loss_mask(outputs))
        all_tokens = self.accelerator.gather(prefix_mask.sum(dim=1))
        shares = prefix_shares(self.args.prefix_token_rule.normalization, all_tokens, self.num_generations)
        prefix_advantages, advantages = self._advantages(outputs["advantages"])
        tensors = {
            "rollout_index": self.accelerator.process_index * len(lengths)
            + torch.arange(len(lengths)).to(lengths.device),
            "prefix_lengths": lengths,
            "prefix_mask": prefix_mask,
            "prefix_advantages": prefix_advantages,
            "advantages": advantages,
            "prefix_shares": shares.view(-1, len(lengths))[self.accelerator.process_index],
        }
        total_advantage = self.accelerator.reduce((prefix_advantages[:, None] * prefix_mask).sum(), reduction="sum")
        self._append_metrics({"prefix/advantage": ratio(total_advantage.item(), all_tokens.sum().item())})
        if self.args.prefix_selection == "random":
            noise = token_noise(self.rollout_batch.assignments, lengths, prefix_mask.size(1))
            tensors["prefix_noise"] = spread_over_spans(noise, lengths, self.rollout_batch.spans)
        if self.importance_sampling_level == "sequence":
            tensors |= without_prefixes(self, outputs, prefix_mask)
        if (correction := outputs.get("importance_sampling_ratio")) is not None:
            # It corrects for the engine that sampled the continuation, so prefix tokens are neither scaled nor dropped
            tensors["importance_sampling_ratio"] = torch.where(prefix_mask, 1.0, correction)
        return tensors

    def _advantages(self, group_advantages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.args.prefix_advantage == "group":
            return group_advantages, group_advantages
        hybrid = self.accelerator.gather(self.rollout_batch.hybrid(group_advantages.device))
        found = self.rollout_batch.rewards, hybrid, self.num_generations
        prefix_advantages, advantages = on_policy_baseline_advantages(self.args.prefix_advantage, *found)
        # The log holds one generation batch: this replaces the group's advantages, which are not trained on
        self._logs["advantages"].extend(advantages.tolist())
        process, rows = self.accelerator.process_index, len(group_advantages)
        return prefix_advantages.view(-1, rows)[process], advantages.view(-1, rows)[process]

    def _trained_tokens(self, batch: dict[str, Any]) -> torch.Tensor:
        trained = super()._trained_tokens(batch)
        return self.args.prefix_token_rule.trained_tokens(batch, trained) if "prefix_mask" in batch else trained

    def training_step(self, *args: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*args, **named)
        if self.extends_grpo and self.accelerator.sync_gradients:
            rollouts = self._train_batch_size * self.current_gradient_accumulation_steps
            self._append_metrics(self._token_sums.take_metrics(self.accelerator, rollouts))
            if self.args.prefix_token_rule.coefficient.changes:
                self._append_metrics({"prefix/coefficient": self._coefficient})
            if not self._has_weighted_prefixes:
                warn_of_another_loss(type(self).__name__)
            self._has_weighted_prefixes = True  # one warning is enough
        return loss

    @property
    def _coefficient(self) -> float:
        return self.args.prefix_token_rule.coefficient.at(self.state.global_step, self.state.max_steps)

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        if "prefix_mask" not in inputs:
            return super()._compute_loss(model, inputs)
        inputs, forward = inputs | {"prefix_loss": 0.0}, self._get_per_token_logps_and_entropies

        def forward_and_weight(*args, **kwargs):
            logps, entropies, aux_loss = forward(*args, **kwargs)
            return *self._apply_prefix_weights(inputs, logps, entropies), aux_loss

        with (
            masks_of_sampled_tokens(self, inputs["prefix_mask"]),
            replaced(self, "_get_per_token_logps_and_entropies", forward_and_weight),
        ):
            return super()._compute_loss(model, inputs) + inputs["prefix_loss"]

    def _apply_prefix_weights(
        self, inputs: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._has_weighted_prefixes = True
        order = inputs.get("rollout_index", torch.arange(len(logps), device=logps.device))
        rule, prefix_mask, detached = self.args.prefix_token_rule, inputs["prefix_mask"], entropies.detach()
        selected = rule.select(inputs.get("prefix_noise", detached), prefix_mask, all_processes(self, order))
        sampled = self._loss_mask(inputs).bool() & ~prefix_mask
        self._token_sums.add(prefix_mask, selected, sampled, detached, self._clipped_tokens(inputs, logps))
        # `prefix_shares` add up over the generation batch of all processes: scale them to what one loss averages over
        window = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        fraction = window / self.accelerator.num_processes
        logps, entropies, updates = rule.apply(inputs, logps, entropies, selected, self._coefficient, fraction)
        inputs |= updates
        return logps, entropies

    def _clipped_tokens(self, inputs: dict[str, Any], logps: torch.Tensor) -> torch.Tensor | None:
        """Tokens that would be clipped as prefix tokens; `None` if the loss clips none, or whole sequences."""
        clips = self.loss_type in CLIPPING_LOSSES and self.importance_sampling_level == "token"
        if not (clips and self.args.prefix_token_rule.law.keeps_ratio):
            return None
        found = logps.detach(), inputs.get("old_per_token_logps"), inputs["prefix_advantages"]
        return clipped_tokens(*found, self.epsilon_low, self.epsilon_high)
