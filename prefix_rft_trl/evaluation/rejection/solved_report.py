"""Count what a model has solved, and lay it out as tables."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.evaluation.samples import LikelySample
from prefix_rft_trl.utils.tables import TextTable

from .selection import Selection


if TYPE_CHECKING:
    from datasets import Dataset

Figures = dict[str, Any]

COLUMNS = ("level", "difficulty", "source", "data_source", "subject", "type", "category", "task")
MOST_VALUES = 20  # of a column by which problems are divided
LISTED = 8  # answers to a problem up to which each number of accepted ones has a line of its own


class SolvedCount:
    """
    Counts problems as their answers come.

    Args:
        rows (`Dataset`): the problems.
        num_samples (`int`): answers to each.
        selection (`Selection`): which answers are accepted.
    """

    def __init__(self, rows: "Dataset", num_samples: int, selection: Selection):
        self.selection, self.num_samples = selection, num_samples
        self._groups = {name: values for name in COLUMNS if (values := _values(rows, name))}
        self._counts: Counter[str] = Counter()
        self._accepted: list[int] = []
        self._best: float | None = None
        self._tokens: dict[str, list[int]] = {"all answers": [], "accepted": [], "kept": []}

    def add(self, samples: Sequence[LikelySample], kept: Sequence[LikelySample]) -> None:
        """Adds the answers to the next problem, and those of them that are kept."""
        accepted = self.selection.accepted(samples)
        right = [sample for sample in samples if self.selection.is_right(sample)]
        self._accepted.append(len(accepted))
        for name, some in zip(self._tokens, (samples, accepted, kept), strict=True):
            self._tokens[name] += [sample.tokens for sample in some]
        rewards = [sample.reward for sample in samples if sample.reward is not None]
        self._best = max([*rewards, *([] if self._best is None else [self._best])], default=None)
        self._counts["unscored"] += all(sample.reward is None for sample in samples)
        self._counts["cut_off"] += sum(sample.is_truncated for sample in samples)
        self._counts["right_but_cut_off"] += len(right) - len(accepted)
        self._counts["repeated"] += len(accepted) - len({sample.text for sample in accepted})

    def figures(self) -> Figures:
        """What was found, as JSON can hold it; `accepted_of_problems` has a number for each problem."""
        solved = [number > 0 for number in self._accepted]
        return {
            "problems": len(solved),
            "num_samples": self.num_samples,
            "solved": sum(solved),
            "answers": len(self._tokens["all answers"]),
            "accepted": sum(self._accepted),
            "kept": len(self._tokens["kept"]),
            **{name: self._counts[name] for name in ("unscored", "cut_off", "right_but_cut_off", "repeated")},
            "best_reward": self._best,
            "tokens": {name: _lengths(lengths) for name, lengths in self._tokens.items() if lengths},
            "by_column": {name: _by_value(values, solved) for name, values in self._groups.items()},
            "accepted_of_problems": self._accepted,
        }


def _values(rows: "Dataset", column: str) -> list[str] | None:
    """The values of a column that divides the problems into few groups."""
    values = list(map(str, rows[column])) if column in rows.column_names else []
    return values if 1 < len(set(values)) <= MOST_VALUES else None


def _lengths(lengths: list[int]) -> dict[str, float]:
    return {"mean": fmean(lengths), "median": median(lengths), "longest": max(lengths)}


def _by_value(values: list[str], solved: list[bool]) -> dict[str, list[int]]:
    """Solved problems and all problems of each value."""
    found = {value: [0, 0] for value in sorted(set(values))}
    for value, is_solved in zip(values, solved, strict=True):
        found[value][0] += is_solved
        found[value][1] += 1
    return found


def advice_on_none(figures: Figures, min_reward: float) -> str:
    """What to change where no answer was accepted."""
    best = figures["best_reward"]
    if best is None or best >= min_reward:  # not scored; or cut off, or empty
        return "Take more samples, a stronger model, or a larger --max_new_tokens"
    lower = "a lower --min_reward, " if best > 0 else ""
    return (
        f"The highest reward of an answer was {best:g}, and --min_reward is {min_reward:g}. Take {lower}more samples, "
        "a stronger model, or a larger --max_new_tokens"
    )


def solved_tables(figures: Figures, max_new_tokens: int) -> Iterator[TextTable]:
    """What was solved and kept; problems by the number of accepted answers; lengths; solved problems by column."""
    problems, answers = figures["problems"], figures["answers"]
    lines = [
        ("problems", problems, None),
        (f"  solved (pass@{figures['num_samples']})", figures["solved"], problems),
        ("  that the reward cannot score", figures["unscored"], problems),
        ("answers", answers, None),
        ("  accepted", figures["accepted"], answers),
        (f"  cut off at {max_new_tokens:,} tokens", figures["cut_off"], answers),
        ("  right, but cut off: not kept", figures["right_but_cut_off"], answers),
        ("  accepted, of the same text as another", figures["repeated"], answers),
        ("demonstrations kept", figures["kept"], None),
    ]
    always = ("problems", "answers", "demonstrations kept")
    shown = [[name, f"{number:,}", _share(number, of)] for name, number, of in lines if number or name in always]
    yield TextTable(["", "number", "share"], shown)
    yield TextTable(["accepted answers of a problem", "problems", "share"], list(_distribution(figures)))
    lengths = [
        [name, f"{of['mean']:.1f}", f"{of['median']:g}", f"{of['longest']:,}"]
        for name, of in figures["tokens"].items()
    ]
    yield TextTable(["length in tokens", "mean", "median", "longest"], lengths)
    for column, values in figures["by_column"].items():
        groups = [[value, f"{of:,}", f"{solved:,}", _share(solved, of)] for value, (solved, of) in values.items()]
        yield TextTable([column, "problems", "solved", "share"], groups)


def _distribution(figures: Figures) -> Iterator[list[str]]:
    most, counts = figures["num_samples"], Counter[int](figures["accepted_of_problems"])
    for low, high in _bins(most):
        number = sum(counts[accepted] for accepted in range(low, high + 1))
        yield [f"{low}" if low == high else f"{low} to {high}", f"{number:,}", _share(number, figures["problems"])]


def _bins(most: int) -> Iterator[tuple[int, int]]:
    """Of numbers from 0: each alone or, if they are many, from one power of two to the next, and all of them."""
    if most <= LISTED:
        yield from ((number, number) for number in range(most + 1))
        return
    yield (0, 0)
    low = 1
    while low < most:
        yield (low, min(2 * low, most) - 1)
        low *= 2
    yield (most, most)


def _share(number: int, of: int | None) -> str:
    return f"{100 * number / of:.1f}%" if of else ""
