"""The plan of a micro-batch: which of its rows go through the model, with which others, and at which width."""

from collections.abc import Iterable
from dataclasses import dataclass

from .arrangement import arrange
from .columns import PassColumns


CLIPPED_SHARES = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio")


@dataclass(frozen=True)
class RolloutSize:
    """What a rollout costs.

    Attributes:
        is_trained (`bool`): whether it goes through the model.
        tokens (`int`): of its completion, those that count in the loss.
        used (`int`): positions that it attends to, of prompt and completion.
        columns (`PassColumns`): with which it would go through the model alone.
    """

    is_trained: bool
    tokens: int
    used: int
    columns: PassColumns


@dataclass(frozen=True)
class PassPart:
    """Rows of a micro-batch that go through the model together, and their columns."""

    rows: list[int]
    columns: PassColumns


@dataclass(frozen=True)
class MicroBatchPlan:
    """The rollouts of a micro-batch, and the parts in which those that are trained go through the model."""

    sizes: list[RolloutSize]
    parts: list[PassPart]

    @classmethod
    def of(cls, sizes: list[RolloutSize], most_parts: int) -> "MicroBatchPlan":
        trained = [row for row, size in enumerate(sizes) if size.is_trained]
        columns = [sizes[row].columns for row in trained]
        groups = filter(None, arrange(columns, most_parts, len(trained)))
        return cls(
            sizes,
            [
                PassPart([trained[place] for place in group], PassColumns.of_all(columns[place] for place in group))
                for group in groups
            ],
        )

    @property
    def rows(self) -> list[int]:
        """Rows that are trained."""
        return [row for part in self.parts for row in part.rows]

    @property
    def trained_token_share(self) -> float:
        """Tokens of the rows that are trained, of all that count in the loss; 1 where none does."""
        return max(1, self._tokens(self.rows)) / max(1, self._tokens(range(len(self.sizes))))

    def counts(self, is_packed: bool) -> list[int]:
        """Rows, tokens and positions, trained and in all, to be summed and read by [`pass_metrics`].

        Args:
            is_packed (`bool`): whether the rows go through the model without any padding.
        """
        every = range(len(self.sizes))
        used = passed = sum(self.sizes[row].used for row in self.rows)
        if not is_packed:
            passed = sum(len(part.rows) * part.columns.width for part in self.parts)
        return [len(self.rows), len(every), self._tokens(self.rows), self._tokens(every), used, passed]

    def _tokens(self, rows: Iterable[int]) -> int:
        return sum(self.sizes[row].tokens for row in rows)


def pass_metrics(counts: Iterable[float]) -> dict[str, float]:
    """Shares of rows and tokens that are trained, and of padding in what the model is given, if anything is."""
    rows, all_rows, tokens, all_tokens, used, passed = counts
    metrics = {"compute/rows": rows / all_rows, "compute/tokens": tokens / max(1, all_tokens)}
    return metrics | ({"compute/padding": 1 - used / passed} if passed else {})


def of_trained_rows(name: str, values: list[float], share: float, is_of_sequences: bool) -> list[float]:
    """TRL's metric of a micro-batch, of the rows that were trained; nothing where that is not known, or none was.

    Args:
        name (`str`): of the metric.
        values (`list[float]`): of the micro-batch.
        share (`float`): of its rows that are trained.
        is_of_sequences (`bool`): whether TRL counts clips in all rows, not in tokens: the others are not clipped.
    """
    if not share or (share < 1 and name.startswith("vespo/")):
        return []
    return [value / share for value in values] if is_of_sequences and name in CLIPPED_SHARES else values


def rows_of_passes(sizes: list[RolloutSize], passes: int, by_length: bool) -> list[list[int]]:
    """Divides the rollouts of an optimizer step among its micro-batches, all of the same size.

    Args:
        sizes (`list[RolloutSize]`): of each rollout.
        passes (`int`): micro-batches of the step.
        by_length (`bool`): whether similar ones go together; those that are not trained then fill up.
    """
    rows, number = list(range(len(sizes))), len(sizes) // passes
    if not by_length:
        return [rows[start : start + number] for start in rows[::number]]
    trained = [row for row in rows if sizes[row].is_trained]
    others = [row for row in rows if not sizes[row].is_trained]
    groups = arrange([sizes[row].columns for row in trained], passes, number)
    return [
        [trained[place] for place in group] + [others.pop() for _ in range(number - len(group))] for group in groups
    ]
