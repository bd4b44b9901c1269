"""The plan of a micro-batch: which of its rows go through the model, with which others, and at which width."""

from collections.abc import Iterable
from dataclasses import dataclass

from .arrangement import arrange
from .columns import PassColumns


@dataclass(frozen=True)
class RolloutSize:
    """What a rollout costs: whether it is trained, its tokens that count in the loss, and the columns that it uses."""

    is_trained: bool
    tokens: int
    columns: PassColumns

    @classmethod
    def read(cls, rows: list[list[int]]) -> list["RolloutSize"]:
        """From rows of (is trained, tokens, columns of the prompt, columns of the completion)."""
        return [cls(bool(trained), tokens, PassColumns(*columns)) for trained, tokens, *columns in rows]


@dataclass(frozen=True)
class PassPart:
    """Rows of a micro-batch that go through the model together, and the columns that they use."""

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
    def trained_share(self) -> float:
        """Tokens of the rows that are trained, of all that count in the loss; 1 where none does."""
        return max(1, self._tokens(self.rows)) / max(1, self._tokens(range(len(self.sizes))))

    def counts(self, widths: list[int] | None) -> list[int]:
        """Rows, tokens and positions, trained and in all, to be summed and read by [`pass_metrics`].

        Args:
            widths (`list[int]`, *optional*): columns with which each part goes through the model; rows that are packed
                have their own.
        """
        every = range(len(self.sizes))
        used = passed = sum(self.sizes[row].columns.width for row in self.rows)
        if widths is not None:
            passed = sum(len(part.rows) * width for part, width in zip(self.parts, widths, strict=True))
        return [len(self.rows), len(every), self._tokens(self.rows), self._tokens(every), used, passed]

    def _tokens(self, rows: Iterable[int]) -> int:
        return sum(self.sizes[row].tokens for row in rows)


def pass_metrics(counts: Iterable[float]) -> dict[str, float]:
    """Shares of rows and tokens that are trained, and of padding in what the model is given, if anything is."""
    rows, all_rows, tokens, all_tokens, used, passed = counts
    metrics = {"compute/rows": rows / all_rows, "compute/tokens": tokens / max(1, all_tokens)}
    return metrics | ({"compute/padding": 1 - used / passed} if passed else {})


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
