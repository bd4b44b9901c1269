"""Trains demonstrations of a second dataset beside the rollouts of each micro-batch (CHORD, arXiv 2508.11408)."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOTrainer

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.data.row_scan import is_transformed
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.method.prefixes import Assignment, token_noise
from prefix_rft_trl.utils.patching import replaced

from .joined_batches import EncodedDemonstration, columns_of, demonstration_shares, joined_with, row_weight
from .row_order import choice_at, first_position, positions_of, row_at


class JoinedDemonstrations(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with the setting `per_device_demonstration_batch_size`.

    The micro-batches of a generation batch get their demonstrations after TRL has shuffled and cut it, so each has as
    many, and the rollouts are those of a run without them. The policy loss and its metrics leave them out.

    Attributes:
        demonstration_dataset (`Dataset` or `None`): the second dataset.
    """

    args: PrefixGRPOConfig
    demonstration_ids: Callable[[Any, list[int], Message], list[int]]
    demonstration_dataset: Dataset | None = None
    _buffered_inputs: list[dict[str, Any]] | None
    _demonstrated: list[int]

    def use_demonstrations(self, dataset: Dataset | None) -> None:
        """Sets the second dataset; rows without a demonstration are not drawn."""
        self.demonstration_dataset = dataset
        if dataset is not None:
            column = self.args.demonstration_column
            rows = dataset if is_transformed(dataset) else dataset.select_columns(column)
            values = enumerate(value for batch in rows.iter(1_000) for value in batch[column])
            self._demonstrated = [row for row, value in values if parse_demonstrations(value, row, column)]

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        is_new = self.model.training and self._buffered_inputs is not before
        if self.demonstration_dataset is None or not (is_new and self._buffered_inputs):
            return inputs
        self._buffered_inputs = self._with_demonstrations(self._buffered_inputs)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _with_demonstrations(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        args, accelerator, number = self.args, self.accelerator, len(batches)
        size, processes = args.per_device_demonstration_batch_size, accelerator.num_processes
        first = first_position(self._step, number, self.num_iterations, size * processes)
        positions = positions_of(first, number, size, accelerator.process_index, processes)
        rows = [[self._encoded(position) for position in part] for part in positions]
        tokens = torch.tensor([[len(row.completion_ids) for row in part] for part in rows], device=accelerator.device)
        counts = torch.stack([tokens.sum(dim=1), (tokens > 0).sum(dim=1)], dim=1)
        totals = accelerator.reduce(counts, reduction="sum")
        micro_steps = args.gradient_accumulation_steps
        shares = demonstration_shares(args.prefix_token_rule.normalization, tokens, totals, micro_steps)
        self._log_demonstrations(int(totals[:, 1].sum()), first + number * size * processes, number * size * processes)
        columns = columns_of(batches, rows, self.pad_to_multiple_of)
        pad_id, loss_type = self._tokenizer.pad_token_id, self.loss_type
        joined = [
            joined_with(batch, part, part_shares, columns, pad_id, loss_type)
            for batch, part, part_shares in zip(batches, rows, shares, strict=True)
        ]
        return [self._with_noise(batch, part) for batch, part in zip(joined, positions, strict=True)]

    def _encoded(self, position: int) -> EncodedDemonstration:
        """The demonstration at a position; without a token if it does not fit the budget of a completion."""
        assert self.demonstration_dataset is not None
        args, place = self.args, row_at(position, len(self._demonstrated), self.args.seed)
        row = self.demonstration_dataset[self._demonstrated[place]]
        found = parse_demonstrations(row[args.demonstration_column], place, args.demonstration_column)
        prompt_ids = super()._tokenize_prompts([row["prompt"]])[0][0]
        message = found[choice_at(position, len(found), args.seed)]
        ids = self.demonstration_ids(row["prompt"], prompt_ids, message)
        fits = 0 < len(ids) < self.max_completion_length
        return EncodedDemonstration(prompt_ids, [*ids, self._tokenizer.eos_token_id] if fits else [])

    def _with_noise(self, batch: dict[str, Any], positions: list[int]) -> dict[str, Any]:
        """Noise for the random selection of tokens, where the rollouts have it."""
        if "prefix_noise" not in batch:
            return batch
        assignments = [Assignment(key=(self.args.seed, position, 2)) for position in positions]
        lengths = batch["prefix_lengths"][-len(positions) :]
        noise = token_noise(assignments, lengths, batch["prefix_mask"].size(1))
        return batch | {"prefix_noise": torch.cat([batch["prefix_noise"][: -len(positions)], noise])}

    def _log_demonstrations(self, trained: int, end: int, drawn: int) -> None:
        """Demonstrations of an optimizer step, those that are too long, and epochs of the dataset so far."""
        steps = self.args.steps_per_generation / self.args.gradient_accumulation_steps
        metrics = {
            "demonstrations/rows": trained / steps,
            "demonstrations/left_out": (drawn - trained) / steps,
            "demonstrations/epoch": end / len(self._demonstrated),
        }
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self.demonstration_dataset is None or not self.model.training:
            return super()._compute_loss(model, inputs)
        size = self.args.per_device_demonstration_batch_size
        weight = row_weight(self.loss_type, len(inputs["prompt_ids"]) - size, size)
        found: dict[str, Any] = {"train": defaultdict(list)}
        with replaced(self, "_metrics", found), replaced(self, "beta", self.beta * weight):
            loss = super()._compute_loss(model, inputs)
        sampled = (inputs["completion_mask"] * inputs["tool_mask"]).sum()
        if self.accelerator.reduce(sampled, reduction="sum"):  # or they would be 0: passes of demonstrations alone
            for name, values in found["train"].items():
                self._metrics["train"][name] += values
        return loss
