"""Which groups of a generation batch are sampled again, which of their rows, and what those replace.

Every process plans the same from the rewards of all, so that all make the same collective calls. Rows are those of
all processes, group after group.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prefix_rft_trl.method.prefixes import Assignment


Key = tuple[int, int, int]


@dataclass(frozen=True)
class Stage:
    """One entry of the lists `prefix_stage_ratios`, `prefix_stage_generations` and `prefix_stage_thresholds`.

    Attributes:
        ratio (`float`): share of the demonstration that its rows start from.
        generations (`int`): rows that a group samples.
        threshold (`float`): highest share of solved rollouts at which a group is sampled again.
    """

    ratio: float
    generations: int
    threshold: float


@dataclass(frozen=True)
class StageRules:
    """The settings of stages, and what follows from them for a generation batch.

    Attributes:
        stages (`tuple[Stage]`): in their order.
        num_generations (`int`): rows of a group.
        success_reward (`float`): lowest reward of a solved rollout.
        groups, replaces (`str`): `prefix_stage_groups` and `prefix_stage_replaces`.
        max_rollouts (`int`, *optional*): bound on the extra rollouts of a generation batch.
    """

    stages: tuple[Stage, ...]
    num_generations: int
    success_reward: float = 1.0
    groups: str = "failed"
    replaces: str = "group"
    max_rollouts: int | None = None

    @classmethod
    def of(cls, args: Any) -> "StageRules":
        """The rules of a [`PrefixGRPOConfig`] with stages."""
        ratios = args.prefix_stage_ratios
        usual = {"group": args.num_generations, "rollout": 1}.get(args.prefix_stage_replaces)
        generations = args.prefix_stage_generations or [usual] * len(ratios)
        thresholds = args.prefix_stage_thresholds or [0.0] * len(ratios)
        return cls(
            tuple(map(Stage, ratios, generations, thresholds)),
            args.num_generations,
            args.prefix_success_reward,
            args.prefix_stage_groups,
            args.prefix_stage_replaces,
            args.prefix_stage_max_rollouts,
        )

    @property
    def divides_groups(self) -> bool:
        """Whether stages sample rows that the first pass has left out, instead of extra ones."""
        return self.replaces == "none"

    def group_of(self, row: int) -> int:
        return row // self.num_generations

    def rows_before(self, index: int) -> int:
        """Rows of a group that are sampled before a stage."""
        later = sum(stage.generations for stage in self.stages[index:]) if self.divides_groups else 0
        return self.num_generations - later

    def first_rows(self, groups: int) -> list[int]:
        """Rows of the first pass."""
        return self._rows(range(groups), range(self.rows_before(0)))

    def stage_rows(self, index: int, groups: list[int]) -> list[int]:
        """Rows whose prompts a stage samples from; with `rollout` they are copies of a group's first row."""
        generations = self.stages[index].generations
        if self.replaces == "rollout":
            return self._rows(groups, [0] * generations)
        before = self.rows_before(index) if self.divides_groups else 0
        return self._rows(groups, range(before, before + generations))

    def _rows(self, groups: Any, places: Any) -> list[int]:
        return [group * self.num_generations + place for group in groups for place in places]

    def due_groups(self, index: int, rewards: torch.Tensor) -> list[int]:
        """Groups that a stage wants to sample again, the lowest first.

        Args:
            index (`int`): of the stage.
            rewards (`torch.Tensor`): shape (rows,); NaN, where there is no score, is no success. Only rows that are
                sampled before the stage are read.
        """
        grouped = rewards.view(-1, self.num_generations)[:, : self.rows_before(index)]
        if self.groups == "equal":
            unknown = grouped.isnan()
            lowest = grouped.masked_fill(unknown, torch.inf).amin(dim=1)
            due = (lowest == grouped.masked_fill(unknown, -torch.inf).amax(dim=1)) | unknown.all(dim=1)
        else:
            due = self.is_solved(grouped).sum(dim=1).double() / grouped.size(1) <= self.stages[index].threshold
        return due.nonzero().flatten().tolist()

    def is_solved(self, rewards: torch.Tensor) -> torch.Tensor:
        return rewards >= self.success_reward

    def within_bound(self, index: int, groups: list[int], sampled: int) -> list[int]:
        """The first of some groups, as many as `max_rollouts` allows after so many extra rollouts."""
        if self.max_rollouts is None or self.divides_groups:
            return groups
        return groups[: max(0, self.max_rollouts - sampled) // self.stages[index].generations]

    def accepted(self, rows: list[int], rewards: torch.Tensor) -> dict[int, int]:
        """What replaces what after a stage: from each row that is filled to an index in the rows of the stage.

        With `rollout` the first success of a group replaces its first row; without one nothing is replaced.

        Args:
            rows (`list[int]`): of the stage.
            rewards (`torch.Tensor`): theirs.
        """
        if self.replaces != "rollout":
            return {row: index for index, row in enumerate(rows)}
        solved = self.is_solved(rewards).tolist()
        return {row: index for index, row in reversed(list(enumerate(rows))) if solved[index]}


def rows_by_process(rows: list[int], rows_per_process: int, processes: int) -> list[list[int]]:
    """Of each process the indices in `rows` of those that it holds."""
    return [
        [index for index, row in enumerate(rows) if row // rows_per_process == process] for process in range(processes)
    ]


def stage_assignment(
    demonstrations: list[dict[str, Any]], ratio: float, group_key: Key, row_key: Key, answer: object
) -> Assignment:
    """What a row of a stage starts from: the same demonstration at every ratio, and the next one where it is given
    whole, if the problem has several.

    Args:
        demonstrations (`list[dict]`): those of the problem.
        ratio (`float`): of the stage.
        group_key, row_key (`tuple[int, int, int]`): seed, step, and index of the group's first row, which draws the
            demonstration, and of the row itself.
        answer: the correct answer, as in the dataset row.
    """
    if not (ratio and demonstrations):
        return Assignment(planned=ratio > 0, key=row_key, answer=answer)
    is_whole = ratio == 1
    drawn = int(np.random.default_rng(group_key).integers(len(demonstrations))) + is_whole
    index = drawn % len(demonstrations)
    return Assignment(True, demonstrations[index], ratio, row_key, answer, index, is_whole)


def other_row(group_key: Key, index: int, rows: int) -> int:
    """The row of the dataset whose problem takes a group's place in a stage."""
    return int(np.random.default_rng([*group_key, index + 1]).integers(rows))
