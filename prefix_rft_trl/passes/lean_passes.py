"""A GRPOTrainer whose forward passes hold what teaches: rows with a gradient, of similar length, at their own width.

TRL pads a generation batch once, to its longest prompt and completion, shuffles it, and cuts it into micro-batches.
Here the rows of each optimizer step are arranged anew after that shuffle. A micro-batch keeps its number of rows, so
the normalizers of TRL's loss stay what they were; rows without a gradient are in its tensors, not in its pass.
"""

from collections import defaultdict
from contextlib import nullcontext
from math import gcd
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel
from trl import GRPOTrainer

from prefix_rft_trl.method.advantages import differ_from_mean, total_rewards
from prefix_rft_trl.utils.patching import replaced

from .batches import joined, picked, without_tokens
from .columns import PassColumns, put_back, row_lengths
from .packing import PackedModel
from .packing_checks import refuse_mixing
from .planning import MicroBatchPlan, PassPart, RolloutSize, of_trained_rows, pass_metrics, rows_of_passes
from .positions import ignores_left_padding, ignores_width


# Losses that are a sum over rows, each divided by what does not depend on the other rows of its micro-batch
SUMS_OVER_ROWS = ("dr_grpo", "grpo", "sapo", "luspo", "dapo", "cispo", "vespo")
MOST_PARTS = 2  # in which a micro-batch is passed where that saves padding
KNOWN_LOSSES = ("trl", __name__.partition(".")[0])  # another one may give a gradient to any rollout
OF_ROWS = ("token_type_ids", "mm_token_type_ids")  # further arguments of a pass that are as wide as its tokens
RowsAndColumns = tuple[torch.Tensor | None, PassColumns]  # None: all rows


class LeanPasses(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with the settings `trim_padding`, `group_rollouts_by_length`,
    `skip_zero_weight_rollouts` and `padding_free`. Those that its arguments do not have are off."""

    _buffered_inputs: list[dict[str, Any]] | None
    _planned: list[RowsAndColumns] | None = None
    _keeps_packed_rows_apart = False
    _has_advantage: torch.Tensor | None = None  # of the rollouts of all processes

    def _is_on(self, setting: str) -> bool:
        return getattr(self.args, setting, False)

    # Advantages: 0 in groups that have one reward, where TRL's may be the rounding of a mean

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        rewards = super()._calculate_rewards(*args)
        if self.multi_objective_aggregation == "sum_then_normalize" and self.model.training:
            totals = total_rewards(rewards, self.reward_weights.to(rewards.device))
            self._has_advantage = differ_from_mean(totals, self.num_generations)
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if self._has_advantage is not None and self.model.training and self._is_on("skip_zero_weight_rollouts"):
            own = self._has_advantage.view(-1, len(inputs))[self.accelerator.process_index]
            outputs["advantages"] = outputs["advantages"].masked_fill(~own, 0.0)
        return outputs

    # Plan: which rows the next steps pass through the model together

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        is_lean = any(map(self._is_on, ("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts")))
        is_new = self.model.training and self._buffered_inputs is not before
        if not (is_lean and is_new and self._buffered_inputs) or self._is_vlm:
            return inputs
        self._buffered_inputs = self._plan(self._buffered_inputs)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _plan(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # So many micro-batches belong to the same optimizer step, in each iteration over the generation batch
        together = gcd(self.args.gradient_accumulation_steps, len(batches))
        planned = [
            batch_and_plan
            for start in range(0, len(batches), together)
            for batch_and_plan in self._plan_step(joined(batches[start : start + together]), together)
        ]
        counts = torch.tensor(
            [plan.counts(self._is_on("padding_free")) for _, plan in planned], device=self.accelerator.device
        )
        # Processes wait for each other in every loss, so a pass is left out of all of them, or of none
        totals = self.accelerator.reduce(counts.float(), reduction="sum")
        self._append_metrics(pass_metrics(totals.sum(dim=0).tolist()))
        shares = (totals[:, 0] / totals[:, 1]).tolist()
        return [
            batch | self._entries(plan, batch, share) for (batch, plan), share in zip(planned, shares, strict=True)
        ]

    def _plan_step(self, rollouts: dict[str, Any], passes: int) -> list[tuple[dict[str, Any], MicroBatchPlan]]:
        whole = PassColumns(rollouts["prompt_ids"].size(1), rollouts["completion_ids"].size(1))
        attention_mask = torch.cat([rollouts["prompt_mask"], rollouts["completion_mask"]], dim=1)
        tokens = self._loss_mask(rollouts).sum(dim=1)
        is_trained = torch.ones_like(tokens)
        if self._leaves_rows_out:
            is_trained = self._trained_tokens(rollouts).any(dim=1)
            rollouts = without_tokens(rollouts, ~is_trained)
        facts = torch.stack([is_trained.long(), tokens, *row_lengths(attention_mask, whole.completion).T], dim=1)
        sizes = [
            RolloutSize(bool(trained), counted, sum(lengths), self._own_columns(PassColumns(*lengths), whole))
            for trained, counted, *lengths in facts.tolist()
        ]
        by_length = self._is_on("group_rollouts_by_length") and self._is_sum_over_rows
        # Processes make the same number of passes, since they may call each other in each
        has_parts = by_length and self.accelerator.distributed_type == "NO" and not self._is_on("padding_free")
        return [
            (picked(rollouts, rows), MicroBatchPlan.of([sizes[row] for row in rows], MOST_PARTS if has_parts else 1))
            for rows in rows_of_passes(sizes, passes, by_length)
        ]

    def _entries(self, plan: MicroBatchPlan, batch: dict[str, Any], trained_share: float) -> dict[str, Any]:
        """The plan as entries of a batch that a checkpoint can hold."""
        rows, completion_width = batch["completion_ids"].shape
        whole = PassColumns(batch["prompt_ids"].size(1), completion_width)
        parts = plan.parts or [PassPart([0], self._own_columns(PassColumns(1, 1), whole))]
        return {
            "pass_rows": [self._index(part.rows, rows) for part in parts],
            "pass_columns": [[part.columns.prompt, part.columns.completion] for part in parts],
            "trained_share": trained_share,
            "trained_token_share": plan.trained_token_share,
        }

    def _index(self, rows: list[int], number: int) -> torch.Tensor | None:
        """Rows as a tensor, which is made before a step is under way; `None` if they are all, in their order."""
        return None if rows == list(range(number)) else torch.tensor(rows, device=self.accelerator.device)

    @staticmethod
    def _loss_mask(batch: dict[str, Any]) -> torch.Tensor:
        return batch["completion_mask"] * batch.get("tool_mask", 1)

    def _trained_tokens(self, batch: dict[str, Any]) -> torch.Tensor:
        """Tokens whose weight in the policy loss is not zero, boolean, shape (rollouts, tokens)."""
        weights = self._loss_mask(batch) * batch["advantages"].view(len(batch["advantages"]), -1)
        if self.loss_type != "vespo":  # there the ratio is in an exponent
            weights = weights * batch.get("importance_sampling_ratio", 1)
        return weights != 0

    @property
    def _has_policy_loss_alone(self) -> bool:
        return not (self._entropy_bonus_enabled or self.aux_loss_enabled or self.top_entropy_quantile < 1.0)

    @property
    def _leaves_rows_out(self) -> bool:
        has_own_loss = any(
            getattr(type(self), name).__module__.partition(".")[0] not in KNOWN_LOSSES
            for name in ("compute_loss", "_compute_loss")
        )
        is_on = self._is_on("skip_zero_weight_rollouts") and not has_own_loss
        return is_on and self._has_policy_loss_alone and self.beta == 0.0

    @property
    def _is_sum_over_rows(self) -> bool:
        return self.loss_type in SUMS_OVER_ROWS and self._has_policy_loss_alone

    def _append_metrics(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    # Passes: cut before the model, put back after it

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if "pass_rows" not in inputs:
            return super()._compute_loss(model, inputs)
        share = inputs["trained_share"]
        if not share and self._may_leave_out_pass(model):
            return torch.zeros((), device=self.accelerator.device, requires_grad=True)
        columns = [PassColumns(*part) for part in inputs["pass_columns"]]
        found: dict[str, Any] = {"train": defaultdict(list)}
        planned = list(zip(inputs["pass_rows"], columns, strict=True))
        with replaced(self, "_metrics", found), replaced(self, "_planned", planned):
            loss = super()._compute_loss(model, inputs)
        is_of_sequences = self.importance_sampling_level == "sequence" and inputs["advantages"].dim() == 1
        for name, values in found["train"].items():
            if known := of_trained_rows(name, values, share, is_of_sequences):
                self._metrics["train"][name] += known
        return loss * inputs["trained_token_share"] if self.loss_type == "bnpo" else loss

    def _may_leave_out_pass(self, model: Any) -> bool:
        """Whether it takes no pass to gather shards, to reduce gradients, or to have gradients at all."""
        is_whole = self.accelerator.distributed_type == "NO" or isinstance(model, DistributedDataParallel)
        reduces_each = self.accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False)
        return is_whole and not reduces_each and not self.accelerator.sync_gradients

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **others
    ):
        forward = super()._get_per_token_logps_and_entropies
        if self._is_on("padding_free"):
            model = self._packed(model, input_ids)
        if self._planned is None and not self._is_on("trim_padding"):
            return forward(model, input_ids, attention_mask, logits_to_keep, batch_size, **others)
        whole = PassColumns(input_ids.size(1) - logits_to_keep, logits_to_keep)
        in_batches = batch_size is not None and others.get("pixel_values") is None
        rows_per_pass = batch_size if in_batches else len(input_ids)
        passes = self._planned or self._own_passes(attention_mask, whole, rows_per_pass)
        wide = {name: others[name] for name in OF_ROWS if others.get(name) is not None}

        def pass_through(rows: torch.Tensor | None, columns: PassColumns) -> tuple[torch.Tensor | None, ...]:
            ids, mask, *further = (
                columns.cut(tensor if rows is None else tensor[rows], whole)
                for tensor in (input_ids, attention_mask, *wide.values())
            )
            cut = dict(zip(wide, further, strict=True))
            return forward(model, ids, mask, columns.completion, batch_size, **others | cut)

        # Parts of a micro-batch share the weights that autocast has converted, which the backward pass keeps
        with self.accelerator.autocast() if self._planned and len(passes) > 1 else nullcontext():
            results = [pass_through(*rows_and_columns) for rows_and_columns in passes]
        logps, entropies, aux_losses = map(list, zip(*results, strict=True))
        rows, shape = [rows for rows, _ in passes], (len(input_ids), logits_to_keep)
        return (
            put_back(logps, rows, shape),
            None if entropies[0] is None else put_back(entropies, rows, shape),
            None if aux_losses[0] is None else torch.stack(aux_losses).mean(),
        )

    def _packed(self, model: Any, input_ids: torch.Tensor) -> PackedModel:
        if not self._keeps_packed_rows_apart:
            with self.accelerator.autocast():
                refuse_mixing(model, input_ids)
            self._keeps_packed_rows_apart = True
        return PackedModel(model)

    def _own_passes(
        self, attention_mask: torch.Tensor, whole: PassColumns, rows_per_pass: int
    ) -> list[RowsAndColumns]:
        """Passes over a whole batch, the longest rows first."""
        lengths = [PassColumns(*row) for row in row_lengths(attention_mask, whole.completion).tolist()]
        order = list(range(len(lengths)))
        if rows_per_pass < len(order):
            order.sort(key=lambda row: -lengths[row].width)
        parts = [order[start : start + rows_per_pass] for start in range(0, len(order), rows_per_pass)]
        columns = [self._own_columns(PassColumns.of_all(lengths[row] for row in rows), whole) for rows in parts]
        return [(self._index(rows, len(order)), own) for rows, own in zip(parts, columns, strict=True)]

    def _own_columns(self, columns: PassColumns, whole: PassColumns) -> PassColumns:
        """Columns of a pass, of those that its rows use and those that its batch has."""
        config = self.model.config
        if not (self._is_on("trim_padding") and ignores_width(config)):
            return whole
        prompt = columns.prompt if ignores_left_padding(config) else whole.prompt
        return PassColumns(prompt, columns.completion).rounded(self.pad_to_multiple_of, whole)
