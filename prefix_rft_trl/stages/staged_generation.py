"""A GRPOTrainer that samples some groups of a generation batch again, before anything is trained on it.

Each pass is TRL's own generation of some rows. TRL's figures of the completions are of the rows in the end.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from trl import GRPOTrainer

from prefix_rft_trl.method.advantages import total_rewards
from prefix_rft_trl.method.prefixes import ON_POLICY, Assignment, Prefix
from prefix_rft_trl.rollouts import RolloutBatch, demonstrations_of, guided_groups
from prefix_rft_trl.run.finite import LARGEST_REWARD
from prefix_rft_trl.utils.patching import replaced

from .stage_rules import Key, StageRules, other_row, rows_by_process, stage_assignment


@dataclass
class StagedRollout:
    """A rollout of this process.

    Attributes:
        prompt_ids, completion_ids (`list[int]`): what was sampled from (without what the completion starts with), and
            the completion.
        logps (`list[float]`, *optional*): log-probabilities of the completion's tokens, where the engine gives them.
        assignment, prefix: what it starts from.
        images (`list`, *optional*): those of its prompt.
        scoring (`Scoring`): in which it was scored.
        logged (`dict[str, Any]`): what reward functions logged for it with `log_extra`.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    logps: list[float] | None
    assignment: Assignment
    prefix: Prefix
    images: list[Any] | None
    scoring: "Scoring"
    logged: dict[str, Any]


@dataclass(eq=False)
class Scoring:
    """A call of the reward functions, and what they logged in it with `log_metric`."""

    metrics: dict[str, list[float]]


class StagedGeneration(GRPOTrainer):
    """Mixin for a [`~trl.GRPOTrainer`] with the settings `prefix_stage_*`; without stages it changes nothing.

    No rollout is scored twice. With several processes one that has fewer rows in a pass than another samples its
    first row along; these rows decode one token, are scored and dropped.
    """

    rollout_batch: RolloutBatch
    _examples: list[dict[str, Any]]
    _staged: "StagedBatch | None" = None

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._examples, self._staged = inputs, None
        return super()._generate_and_score_completions(inputs)

    def _generate(self, prompts: list[Any]) -> tuple:
        if not (self.model.training and getattr(self.args, "prefix_stage_ratios", None)):
            return super()._generate(prompts)
        staged = StagedBatch(self, self._examples, prompts, super()._generate, super()._calculate_rewards)
        staged.sample()
        self._staged, batch, rollouts = staged, self.rollout_batch, staged.own_rollouts
        batch.assignments = [rollout.assignment for rollout in rollouts]
        batch.prefixes = [rollout.prefix for rollout in rollouts]
        for name, value in staged.metrics().items():
            self._metrics["train"][name].append(value)
        prompt_ids = [rollout.prompt_ids for rollout in rollouts]
        completion_ids = [rollout.completion_ids for rollout in rollouts]
        logps = None if rollouts[0].logps is None else [rollout.logps for rollout in rollouts]
        images = [rollout.images for rollout in rollouts] if any(rollout.images for rollout in rollouts) else None
        with (
            replaced(self, "_tokenize_prompts", lambda *_: (prompt_ids, images, {})),
            replaced(self, "_generate_single_turn", lambda *_: (completion_ids, logps)),
        ):
            return super()._generate(prompts)

    def _calculate_rewards(self, *args: Any) -> torch.Tensor:
        if self._staged is None:
            return super()._calculate_rewards(*args)
        staged, self._staged = self._staged, None
        self._pending_extra_logs.update(staged.logged_columns())
        self._pending_metrics.update(staged.logged_metrics())
        return staged.rewards


class StagedBatch:
    """The rollouts of a generation batch while they are sampled, in one pass after the other.

    Args:
        trainer ([`StagedGeneration`]): whose settings, state and dataset are used.
        examples (`list[dict]`): one dataset row per rollout of this process; those of other problems are replaced.
        prompts (`list`): their prompts, which are replaced with them.
        generate, score (`Callable`): TRL's `_generate` and `_calculate_rewards`.
    """

    def __init__(
        self,
        trainer: Any,
        examples: list[dict[str, Any]],
        prompts: list[Any],
        generate: Callable[[list[Any]], tuple],
        score: Callable[..., torch.Tensor],
    ):
        self.trainer, self.examples, self.prompts = trainer, examples, prompts
        self._generate, self._score = generate, score
        self.args, self.accelerator = trainer.args, trainer.accelerator
        self.rules = StageRules.of(trainer.args)
        self.planned: RolloutBatch = trainer.rollout_batch
        self.rows = len(examples) * self.accelerator.num_processes
        self.first = len(examples) * self.accelerator.process_index
        self.rollouts: list[StagedRollout | None] = [None] * len(examples)
        self.rewards = torch.full((self.rows, len(trainer.reward_funcs)), torch.nan, device=self.accelerator.device)
        self.decoded = self.extra = 0
        self.resampled: set[int] = set()
        self.filled: set[int] = set()

    @property
    def own_rollouts(self) -> list[StagedRollout]:
        return [rollout for rollout in self.rollouts if rollout is not None]

    def sample(self) -> None:
        """Samples the first pass, then each stage that some process needs."""
        groups = self.rows // self.rules.num_generations
        first_rows = self.rules.first_rows(groups)
        first_rollouts = self._pass(first_rows, self.planned.assignments.__getitem__)
        self._fill({row: place for place, row in enumerate(first_rows)}, *first_rollouts)
        for index in range(len(self.rules.stages)):
            due = self._groups_of_stage(index)
            rows = self.rules.stage_rows(index, list(range(groups)) if self.rules.divides_groups else due)
            if not rows:
                continue
            guided = {self.rules.group_of(row) for row in rows} & {*due}

            def assigned(own: int, index: int = index, guided: set[int] = guided) -> Assignment:
                is_guided = self.rules.group_of(self.first + own) in guided
                return self._assignment(index, own) if is_guided else self.planned.assignments[own]

            rollouts, rewards = self._pass(rows, assigned)
            accepted = self.rules.accepted(rows, self._totals(rewards))
            self._fill(accepted, rollouts, rewards)
            self.resampled |= {*due}
            if not self.rules.divides_groups:
                self.extra += len(rows)
                self.filled |= {self.rules.group_of(row) for row in accepted}

    def _groups_of_stage(self, index: int) -> list[int]:
        stage, per_process = self.rules.stages[index], len(self.examples)
        due = [group for group in self.rules.due_groups(index, self._totals(self.rewards)) if self._is_open(group)]
        if not due:
            return due
        examples = list(self.examples)
        if self.args.prefix_stage_prompts == "other":
            self._replace_problems(examples, index, {*due})
        if stage.ratio:
            has = torch.tensor([len(demonstrations_of(example, self.args)) for example in examples])
            of_all = self.accelerator.gather(has.to(self.accelerator.device)).tolist()
            guided = guided_groups(self.args, self.planned.step, self.planned.index * self.rows, self.rows)
            due = [group for group in due if group in guided and of_all[group * self.rules.num_generations]]
        due = self.rules.within_bound(index, due, self.extra)
        # A prompt of the same problem is left as TRL has prepared it, with its images
        chosen = {*due} if self.args.prefix_stage_prompts == "other" else set()
        for own in range(per_process):
            if self.rules.group_of(self.first + own) in chosen:
                self.examples[own], self.prompts[own] = examples[own], examples[own]["prompt"]
        return due

    def _is_open(self, group: int) -> bool:
        """Whether a group may still be sampled again: with `rollout` one that has a success is done."""
        return not (self.rules.replaces == "rollout" and group in self.filled)

    def _replace_problems(self, examples: list[dict[str, Any]], index: int, groups: set[int]) -> None:
        """Replaces the examples of some groups by other problems of the training dataset."""
        dataset = self.trainer.train_dataset
        for own, example in enumerate(examples):
            if self.rules.group_of(self.first + own) in groups:
                row = dataset[other_row(self._group_key(own), index, len(dataset))]
                examples[own] = {name: row[name] for name in example}

    def _assignment(self, index: int, own: int) -> Assignment:
        example, ratio = self.examples[own], self.rules.stages[index].ratio
        answer = example.get(self.args.answer_column) if self.args.answer_column else None
        found = demonstrations_of(example, self.args) if ratio else []
        return stage_assignment(found, ratio, self._group_key(own), self._key(self.first + own), answer)

    def _group_key(self, own: int) -> Key:
        return self._key(self.rules.group_of(self.first + own) * self.rules.num_generations)

    def _key(self, row: int) -> Key:
        return self.args.seed, self.planned.step, self.planned.index * self.rows + row

    def _totals(self, rewards: torch.Tensor) -> torch.Tensor:
        usable = rewards.masked_fill(rewards.abs() > LARGEST_REWARD, torch.nan)  # as `run.finite` has them in the end
        return total_rewards(usable, self.trainer.reward_weights.to(rewards.device))

    # One pass

    def _pass(
        self, rows: list[int], assigned: Callable[[int], Assignment]
    ) -> tuple[dict[int, StagedRollout], torch.Tensor]:
        """Samples and scores rows; every process takes part.

        Args:
            rows (`list[int]`): of all processes.
            assigned (`Callable`): from the place of a row in this process to what it starts from.

        Returns:
            `tuple`: of this process's rows, by their index in `rows`, the rollouts; and the rewards of all rows, of
            shape (rows, reward functions).
        """
        trainer, per_process = self.trainer, len(self.examples)
        shares = rows_by_process(rows, per_process, self.accelerator.num_processes)
        longest = max(map(len, shares))
        own = shares[self.accelerator.process_index]
        padding = longest - len(own)
        places = [rows[index] - self.first for index in own] + [0] * padding
        assignments = [assigned(place) for place in places[: len(own)]] + [ON_POLICY] * padding
        batch = replace(self.planned, assignments=assignments, padding=padding, prefixes=[])
        prompts, examples = ([column[place] for place in places] for column in (self.prompts, self.examples))
        seen = trainer.state.num_input_tokens_seen
        with replaced(trainer, "rollout_batch", batch), replaced(trainer, "_metrics", _unused_metrics()):
            prompt_ids, completion_ids, _, completions, logps, _, images, _ = self._generate(prompts)
            rewards = self._score(examples, prompts, completions, completion_ids)
        trainer.state.num_input_tokens_seen = seen
        scoring = Scoring(dict(trainer._pending_metrics))
        logged = dict(trainer._pending_extra_logs)
        trainer._pending_metrics.clear()
        trainer._pending_extra_logs.clear()
        rollouts = {}
        for place, index in enumerate(own):
            rollouts[index] = StagedRollout(
                prompt_ids[place],
                completion_ids[place],
                None if logps is None else logps[place],
                assignments[place],
                batch.prefixes[place],
                None if images is None else images[place],
                scoring,
                {name: values[place] for name, values in logged.items() if place < len(values)},
            )
            self.decoded += len(completion_ids[place]) - len(batch.prefixes[place].ids)
        order = [process * longest + place for process, share in enumerate(shares) for place in range(len(share))]
        by_row = dict(zip((index for share in shares for index in share), order, strict=True))
        return rollouts, rewards[[by_row[index] for index in range(len(rows))]]

    def _fill(self, places: dict[int, int], rollouts: dict[int, StagedRollout], rewards: torch.Tensor) -> None:
        """Puts rollouts of a pass in their places, which are given as row and index in the pass."""
        for row, index in places.items():
            self.rewards[row] = rewards[index]
            if index in rollouts:
                self.rollouts[row - self.first] = rollouts[index]

    # What is logged

    def metrics(self) -> dict[str, float]:
        """Figures of the batch over all processes; each calls it."""
        decoded = torch.tensor(self.decoded, device=self.accelerator.device)
        return {
            "stages/extra_rollouts": float(self.extra),
            "stages/groups_resampled": float(len(self.resampled)),
            "stages/groups_replaced": float(len(self.filled)),
            "sampling/decoded_tokens": float(self.accelerator.reduce(decoded, reduction="sum")),
        }

    def logged_columns(self) -> dict[str, list[Any]]:
        """What reward functions logged for the rollouts in the end; `None` for one of which they logged nothing."""
        names = {name for rollout in self.own_rollouts for name in rollout.logged}
        return {name: [rollout.logged.get(name) for rollout in self.own_rollouts] for name in names}

    def logged_metrics(self) -> dict[str, list[float]]:
        """Of each metric of reward functions the mean over calls, by the number of rollouts that are left of each."""
        values: dict[str, list[float]] = defaultdict(list)
        for rollout in self.own_rollouts:
            for name, of_call in rollout.scoring.metrics.items():
                values[name].append(sum(of_call) / len(of_call))
        return {name: [sum(of_rollouts) / len(of_rollouts)] for name, of_rollouts in values.items()}


def _unused_metrics() -> dict[str, Any]:
    return {"train": defaultdict(list), "eval": defaultdict(list)}
