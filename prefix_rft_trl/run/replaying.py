"""Trains on own successes: keeps the bank of a run, draws from it, and saves it in checkpoints.

Every process holds the whole bank and makes every draw, so that both are the same on any number of them. Passes over
the model are divided among the processes, each of which makes as many: sharded models call each other in each.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from prefix_rft_trl.method.replay import OwnSuccess, draw_problems, most_certain, read_attempts

from .exact_resume import ExactResume
from .success_bank import BANK_FILE, SolvedProblem, SuccessBank
from .success_history import problem_key


logger = get_logger(__name__)


class ReplaysSuccesses(ExactResume):
    """Mixin for a [`~trl.GRPOTrainer`]: with `demonstration_source="own"` it has a bank of its own successes.

    `rollout_batch` is that of the trainer, with the prefixes and rewards of the current generation batch.
    """

    rollout_batch: Any
    num_generations: int
    pad_to_multiple_of: int | None
    _pending_extra_logs: dict[str, list[Any]]
    _append_metrics: Any
    _get_per_token_logps_and_entropies: Any
    _replayed: list[OwnSuccess | None]

    @property
    def replay(self) -> Callable[..., list[OwnSuccess | None]] | None:
        """What replays successes (`rollouts.plan_batch`), if there is a bank."""
        return None if self.success_bank is None else partial(self._replay_successes, self.success_bank)

    @cached_property
    def success_bank(self) -> SuccessBank | None:
        if not (getattr(self.args, "uses_prefixes", False) and self.args.demonstration_source == "own"):
            return None
        limits = self.args.own_successes_max_problems, self.args.own_successes_per_problem
        return SuccessBank(*limits, self.num_generations)

    def _save_extras(self, folder: Path) -> None:
        super()._save_extras(folder)
        if self.success_bank is not None and self.args.should_save:
            self.success_bank.save(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.success_bank is not None and not self.success_bank.load(Path(checkpoint)):
            logger.warning(f"{checkpoint} has no own successes ({BANK_FILE}): the bank starts empty.")

    # Before sampling: groups get a problem of the bank in place of their own

    def _replay_successes(
        self, bank: SuccessBank, inputs: list[dict[str, Any]], seeds: dict[int, tuple[int, int, int]]
    ) -> list[OwnSuccess | None]:
        """Replaces the rows of groups by those of problems in the bank.

        Args:
            inputs (`list[dict]`): rows of this process; they are replaced in place.
            seeds (`dict[int, tuple[int, int, int]]`): from the index of each group that may be replaced, among those
                of all processes, to what seeds its draw (`draw_problems`).

        Returns:
            `list[OwnSuccess | None]`: what each row of this process may start from.
        """
        drawn = draw_problems(bank.buckets, self.num_generations, seeds.values())
        problems = {group: bank.problems[key] for group, key in zip(seeds, drawn, strict=True) if key is not None}
        chosen = self._most_certain_successes(problems)
        first_row = self.accelerator.process_index * len(inputs)
        groups = [row // self.num_generations for row in range(first_row, first_row + len(inputs))]
        for row, group in enumerate(groups):
            if group in problems:
                inputs[row] = dict(problems[group].example)
        num_groups = len(inputs) * self.accelerator.num_processes // self.num_generations
        self._append_metrics({"bank/replayed": len(problems) / num_groups})
        self._replayed = [chosen.get(group) for group in groups]
        return self._replayed

    def _most_certain_successes(self, problems: dict[int, SolvedProblem]) -> dict[int, OwnSuccess]:
        """Of the successes of each group's problem the one with the lowest mean entropy under the policy of now."""
        candidates = [
            (group, index)
            for group, problem in problems.items()
            if len(problem.successes) > 1
            for index in range(len(problem.successes))
        ]
        own = candidates[self.accelerator.process_index :: self.accelerator.num_processes]
        rows = [(problems[group].prompt_ids, problems[group].successes[index].ids) for group, index in own]
        entropies = [of_tokens.double().mean().item() for of_tokens in self._score(rows, entropies=True)]
        scores = dict(gather_object(list(zip(own, entropies, strict=True))))
        return {
            group: problem.successes[
                most_certain([scores.get((group, index), 0.0) for index in range(len(problem.successes))])
            ]
            for group, problem in problems.items()
        }

    # After scoring: what solved a problem goes into the bank

    def _calculate_rewards(self, inputs: Any, *others: Any) -> torch.Tensor:
        if self.success_bank is not None:
            is_replayed = [success is not None for success in self._replayed] if self.model.training else []
            self._pending_extra_logs["replayed"].extend(is_replayed or [False] * len(inputs))
        return super()._calculate_rewards(inputs, *others)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if self.success_bank is not None and self.model.training:
            outputs["demonstration_logps"] = self._demonstration_logps(outputs["completion_mask"])
            self._remember_successes(self.success_bank, inputs, outputs)
            sizes = {"problems": len(self.success_bank.problems), "successes": self.success_bank.num_successes}
            self._append_metrics({f"bank/{name}": float(size) for name, size in sizes.items()})
        return outputs

    def _demonstration_logps(self, completion_mask: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of prefix tokens when they were sampled, 0 elsewhere, shape (rows, tokens)."""
        dtypes = [success.logps.dtype for success in self._replayed if success is not None]
        values = torch.zeros(completion_mask.shape, dtype=dtypes[0] if dtypes else torch.float32)
        rows = zip(self.rollout_batch.assignments, self.rollout_batch.prefixes, strict=True)
        for row, (assignment, prefix) in enumerate(rows):
            if prefix.ids:
                values[row, : len(prefix.ids)] = assignment.demonstration.logps[: len(prefix.ids)]
        return values.to(completion_mask.device)

    def _remember_successes(self, bank: SuccessBank, inputs: list[dict[str, Any]], outputs: dict[str, Any]) -> None:
        lengths = outputs["completion_mask"].sum(dim=1)
        solved = self.rollout_batch.rewards >= self.args.prefix_success_reward
        bank.has_started = bank.has_started or solved.float().mean().item() > self.args.own_successes_start
        if not bank.has_started:
            return
        facts = self._facts_of_rows(inputs, outputs, lengths)
        problems, on_policy, replayed, finished = self.accelerator.gather(facts).T.tolist()
        attempts = bank.record(
            read_attempts(problems, on_policy, replayed, solved.tolist(), finished, self.num_generations)
        )
        stored = self._completions([row for attempt in attempts for row in attempt.successes], outputs, lengths)
        first_row = self.accelerator.process_index * len(inputs)
        own_rows = range(first_row, first_row + len(inputs))
        examples = {row: inputs[row - first_row] for attempt in attempts if (row := attempt.successes[0]) in own_rows}
        found = dict(gather_object([(row, (examples.get(row), *completion)) for row, completion in stored.items()]))
        for attempt in attempts:
            example, prompt_ids, *_ = found[attempt.successes[0]]
            successes = [OwnSuccess(*found[row][2:]) for row in attempt.successes]
            bank.store(attempt.problem, SolvedProblem(example, prompt_ids, successes, attempt.bucket))

    def _facts_of_rows(
        self, inputs: list[dict[str, Any]], outputs: dict[str, Any], lengths: torch.Tensor
    ) -> torch.Tensor:
        """Each row's problem, and whether it has no prefix, is a whole success, and has ended; shape (rows, 4)."""
        ids, whole = outputs["completion_ids"], self.args.gives_whole_demonstrations
        facts = []
        for row, (prefix, length) in enumerate(zip(self.rollout_batch.prefix_ids, lengths.tolist(), strict=True)):
            has_ended = length > 1 and ids[row, length - 1].item() in self.eos_token_ids
            facts.append([problem_key(inputs[row]["prompt"]), not prefix, bool(prefix) and whole, has_ended])
        return torch.tensor(facts, device=self.accelerator.device)

    def _completions(
        self, rows: list[int], outputs: dict[str, Any], lengths: torch.Tensor
    ) -> dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Prompt, completion and its log-probabilities of those of some rows that are of this process.

        Args:
            rows (`list[int]`): among those of all processes.
        """
        first_row, found = self.accelerator.process_index * len(lengths), {}
        for row in rows:
            if 0 <= (own := row - first_row) < len(lengths):
                prompt = outputs["prompt_ids"][own][outputs["prompt_mask"][own].bool()]
                found[row] = _kept(prompt).int(), _kept(outputs["completion_ids"][own, : lengths[own]]).int()
        if (old := outputs.get("old_per_token_logps")) is not None:
            logps = [old[row - first_row, : len(ids)] for row, (_, ids) in found.items()]
        else:
            logps = self._score(list(found.values()))
        return {row: (*ids, _kept(logps)) for (row, ids), logps in zip(found.items(), logps, strict=True)}

    def _score(self, rows: list[tuple[torch.Tensor, torch.Tensor]], entropies: bool = False) -> list[torch.Tensor]:
        """Passes prompts and completions through the policy of now, without a gradient.

        Every process calls it, each with its own rows, and makes as many passes as the others.

        Returns:
            `list[torch.Tensor]`: of each row the log-probabilities of its completion's tokens or, if asked for, their
            entropies, shape (tokens,).
        """
        device = self.accelerator.device
        most = int(self.accelerator.gather(torch.tensor([len(rows)], device=device)).max())
        if most == 0:
            return []
        filler = torch.tensor(self.eos_token_ids[:1])
        filled = [*rows, *[(filler, filler)] * (most - len(rows))]
        prompt_ids, prompt_mask = self._padded([prompt for prompt, _ in filled], "left")
        completion_ids, completion_mask = self._padded([completion for _, completion in filled], "right")
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            logps, found, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([prompt_ids, completion_ids], dim=1),
                torch.cat([prompt_mask, completion_mask], dim=1),
                completion_ids.size(1),
                batch_size=self.args.per_device_train_batch_size,
                compute_entropy=entropies,
            )
        scores = found if entropies else logps
        return [scores[row, : len(completion)] for row, (_, completion) in enumerate(rows)]

    def _padded(self, rows: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask of rows of different lengths, each of shape (rows, tokens)."""
        both = [row.long() for row in rows], [torch.ones_like(row, dtype=torch.long) for row in rows]
        ids, mask = (
            pad(tensors, value, side, pad_to_multiple_of=self.pad_to_multiple_of).to(self.accelerator.device)
            for tensors, value in zip(both, (self._tokenizer.pad_token_id, 0), strict=True)
        )
        return ids, mask


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU: one that is sent or saved as part of a batch would take the batch along."""
    return tensor.detach().cpu().clone()
