"""The first reading of a dataset: which rows and demonstrations are kept, without holding their texts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .corruption import Damaged, damage
from .draws import Key, Purpose, generator, text_key
from .examining import Dropped, Usable, examine
from .options import Settings
from .sources.reading import Reader, Row
from .tally import Tally, count


if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_A_TIME = 500


@dataclass(frozen=True)
class Kept:
    """A row that is kept.

    Attributes:
        row (`int`): its number in the source.
        key (`int`): stands for its problem.
        places (`tuple[int, ...]`): the demonstrations that are kept, by their places among those of the row.
        slips (`tuple`): for each of them its wrong answer, `None` if it has none to give; all are `None` if nothing
            is to be damaged.
        solution (`str` or `tuple[str, ...]`): its answer.
        example (`str`): the beginning of the problem.
    """

    row: int
    key: int
    places: tuple[int, ...]
    slips: tuple["Slip | None", ...]
    solution: str | tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Slip:
    """A wrong answer, and whether its text alone tells that it is wrong."""

    answer: str
    certain: bool


@dataclass
class Plan:
    """What was found.

    Attributes:
        kept (`list[Kept]`): rows that are kept, in the order of the source.
        tally (`Tally`): the others, by reason.
        rows_read (`int`): rows up to where reading stopped.
    """

    kept: list[Kept] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    rows_read: int = 0


def make_plan(dataset: "Dataset", reader: Reader, settings: Settings) -> Plan:
    """Reads all rows, or as many as it takes to keep `max_rows`, with a bar of progress."""
    plan, seen = Plan(), _Seen()
    for row, outcome in _outcomes(dataset, reader, settings):
        plan.rows_read = row + 1
        if isinstance(outcome, Usable):
            outcome = seen.or_dropped(row, outcome)
        if isinstance(outcome, Dropped):
            count(plan.tally.dropped, outcome.reason, row, outcome.example)
            continue
        for reason in outcome.left_out:
            count(plan.tally.left_out, reason, row, outcome.example)
        plan.kept.append(_kept(row, outcome, settings))
        if len(plan.kept) == settings.max_rows:
            break
    return plan


def _outcomes(dataset: "Dataset", reader: Reader, settings: Settings) -> Iterator[tuple[int, Usable | Dropped]]:
    for start, rows in row_batches(dataset, "Reading"):
        yield from enumerate(examine(rows, reader, settings), start)


def row_batches(dataset: "Dataset", description: str) -> Iterator[tuple[int, list[Row]]]:
    """The rows, some at a time, with the place of the first of them."""
    from tqdm.auto import tqdm

    with tqdm(total=len(dataset), desc=description, unit=" rows") as bar:
        for start in range(0, len(dataset), ROWS_AT_A_TIME):
            columns: dict[str, list[Any]] = dataset[start : start + ROWS_AT_A_TIME]
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            yield start, rows
            bar.update(len(rows))


class _Seen:
    """The problems so far, to drop those that come again."""

    def __init__(self) -> None:
        self._first: dict[int, tuple[int, int]] = {}

    def or_dropped(self, row: int, item: Usable) -> Usable | Dropped:
        answer = text_key(str(item.solution))
        if item.key not in self._first:
            self._first[item.key] = (row, answer)
            return item
        first, its_answer = self._first[item.key]
        with_another = "" if answer == its_answer else ", with another answer"
        return Dropped(f"the problem of an earlier row{with_another}", f"as row {first}: {item.example}")


def _kept(row: int, item: Usable, settings: Settings) -> Kept:
    places = item.fitting[: settings.max_demonstrations]
    slips: list[Slip | None] = [None] * len(places)
    if settings.damaged_share:
        damaged = [damaged_at(item, place, settings.seed) for place in places]
        slips = [Slip(found.answer, found.certain) if found else None for found in damaged]
    return Kept(row, item.key, places, tuple(slips), item.solution, item.example)


def damaged_at(item: Usable, place: int, seed: int) -> Damaged | None:
    """The demonstration at a place of a row, with the slip that the seed gives it."""
    golds = (item.solution,) if isinstance(item.solution, str) else item.solution
    key: Key = (item.key, place)
    return damage(item.demonstrations[place], golds, generator(seed, Purpose.DAMAGE, key))
