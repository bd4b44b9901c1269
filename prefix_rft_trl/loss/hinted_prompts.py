"""Prompts with hints: shown in the table of completions, and left out of the loss where that is asked for."""

from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.rollouts import RolloutBatch


class HintedPrompts(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with a `rollout_batch` and the settings `prefix_placement` and
    `prefix_hint_in_loss`.

    TRL samples and scores behind the prompts with hints. With `prefix_hint_in_loss=False` the batch that leaves has
    the prompts without them, and as the policy's old log-probabilities those behind the hints, so that the ratio of
    the loss is pi(. | prompt) / pi_old(. | prompt with its hint).
    """

    args: PrefixGRPOConfig
    rollout_batch: RolloutBatch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if not (getattr(self.args, "prefix_placement", None) == "prompt" and self.model.training):
            return outputs
        sampled_from = self.rollout_batch.sampled_prompts([example["prompt"] for example in inputs])
        # The log holds one generation batch: this replaces the prompts without hints
        self._logs["prompt"].extend(gather_object(sampled_from))
        return outputs if self.args.prefix_hint_in_loss else outputs | self._behind_plain_prompts(outputs)

    def _behind_plain_prompts(self, outputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The prompts without hints, padded, and the log-probabilities behind those that were sampled from."""
        rows = zip(outputs["prompt_ids"], outputs["prompt_mask"].bool(), self.rollout_batch.prefixes, strict=True)
        plain_ids = [
            ids[mask] if prefix.hint is None else ids.new_tensor(prefix.hint.plain_prompt_ids)
            for ids, mask, prefix in rows
        ]
        layout = {"padding_side": "left", "pad_to_multiple_of": self.pad_to_multiple_of}
        old_logps = outputs.get("old_per_token_logps")
        return {
            "prompt_ids": pad(plain_ids, padding_value=self._tokenizer.pad_token_id, **layout),
            "prompt_mask": pad([torch.ones_like(ids) for ids in plain_ids], padding_value=0, **layout),
            "old_per_token_logps": self._logps_of_sampling(outputs) if old_logps is None else old_logps,
        }

    def _logps_of_sampling(self, outputs: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities of the completions as they were sampled, which TRL leaves out where a ratio would be 1."""
        ids = torch.cat([outputs["prompt_ids"], outputs["completion_ids"]], dim=1)
        mask = torch.cat([outputs["prompt_mask"], outputs["completion_mask"]], dim=1)
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                ids,
                mask,
                outputs["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
            )
        return logps
