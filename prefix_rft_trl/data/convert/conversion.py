"""A dataset of others to rows of `prompt`, `completion`, `solution`, in two readings.

The first decides what is kept, since shares and the form of the file depend on all rows; the second writes it. Neither
holds more than some hundred texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corruption import Purpose, drawn, refuted
from .options import Settings
from .rows import Form, features_of, record
from .selection import Kept, Plan, Tally, count, damaged_at, make_plan, row_batches, usable
from .sources.reading import Reader, Row
from .writing import write


if TYPE_CHECKING:
    from datasets import Dataset


Demonstration = tuple[int, int]


@dataclass(frozen=True)
class Ablation:
    """What is taken away from a dataset.

    Attributes:
        demonstrated (`set[int]`): rows of the source that keep their demonstrations.
        damaged (`set[tuple[int, int]]`): row and place of the demonstrations that are damaged.
        beyond_damage (`list[Kept]`): for each demonstration that cannot be damaged, its row.
        too_few (`int`): demonstrations that were to be damaged, for which there are none left.
    """

    demonstrated: set[int]
    damaged: set[Demonstration]
    beyond_damage: list[Kept]
    too_few: int


@dataclass(frozen=True)
class Outcome:
    """What a conversion came to.

    Attributes:
        rows_read, rows_kept (`int`): rows of the source, and of the file.
        rows_demonstrated (`int`): rows with a demonstration.
        demonstrations, damaged (`int`): demonstrations in the file, and how many of them are damaged.
        beyond_damage (`int`): demonstrations that were to be damaged too, had there been more that can be.
        form (`Form`): that of the rows.
        tally (`Tally`): what was dropped and why.
    """

    rows_read: int
    rows_kept: int
    rows_demonstrated: int
    demonstrations: int
    damaged: int
    beyond_damage: int
    form: Form
    tally: Tally


def convert(dataset: "Dataset", reader: Reader, settings: Settings, path: Path) -> Outcome:
    """Converts a dataset to a file, the kind of which its suffix says.

    Nothing is written if no row is kept.
    """
    dataset = dataset.select_columns(reader.columns)
    plan = make_plan(dataset, reader, settings)
    ablated = ablation(plan.kept, settings)
    form = form_of(plan.kept, settings)
    if plan.kept:
        rows = dataset.select([item.row for item in plan.kept])
        write(path, _records(rows, reader, settings, plan.kept, ablated, form), features_of(form))
    _note(plan, ablated)
    demonstrations = sum(len(item.places) for item in plan.kept if item.row in ablated.demonstrated)
    return Outcome(
        rows_read=plan.rows_read,
        rows_kept=len(plan.kept),
        rows_demonstrated=len(ablated.demonstrated),
        demonstrations=demonstrations,
        damaged=len(ablated.damaged),
        beyond_damage=ablated.too_few,
        form=form,
        tally=plan.tally,
    )


def form_of(kept: list[Kept], settings: Settings) -> Form:
    """Lists where a row needs one. It does not depend on which demonstrations were drawn: shares share a form."""
    several_demonstrations = any(len(item.places) > 1 for item in kept)
    several_answers = any(not isinstance(item.solution, str) for item in kept)
    return Form(settings.plain_text, several_demonstrations, several_answers)


def _records(
    rows: "Dataset", reader: Reader, settings: Settings, kept: list[Kept], ablated: Ablation, form: Form
) -> Iterator[list[dict[str, Any]]]:
    for start, batch in row_batches(rows, "Writing"):
        of_batch = kept[start : start + len(batch)]
        yield [_record(row, item, reader, settings, ablated, form) for row, item in zip(batch, of_batch, strict=True)]


def _record(row: Row, kept: Kept, reader: Reader, settings: Settings, ablated: Ablation, form: Form) -> dict[str, Any]:
    item = usable(reader.read(row), settings)
    demonstrations = []
    for place in kept.places if kept.row in ablated.demonstrated else ():
        damaged = damaged_at(item, place, settings.seed) if (kept.row, place) in ablated.damaged else None
        demonstrations.append(damaged.text if damaged else item.demonstrations[place])
    return record(item.prompt, demonstrations, item.solution, form)


def _note(plan: Plan, ablated: Ablation) -> None:
    noted = plan.tally.noted
    for item in plan.kept:
        if not item.places:
            count(noted, "no demonstration in the source", item.row, item.example)
    for item in ablated.beyond_damage:
        count(noted, "demonstrations that cannot be damaged", item.row, item.example)


def ablation(kept: Sequence[Kept], settings: Settings) -> Ablation:
    """Draws both, as many as `round(share * number)`: of the problems with a demonstration, and of the demonstrations
    that are left.
    """
    having = [item for item in kept if item.places]
    number = round(settings.demonstrated_share * len(having))
    places = drawn(number, [(item.key,) for item in having], settings.seed, Purpose.DEMONSTRATED)
    left = [having[place] for place in sorted(places)]
    damaged, beyond_damage, too_few = _damaged(left, settings)
    return Ablation({item.row for item in left}, damaged, beyond_damage, too_few)


def _damaged(left: Sequence[Kept], settings: Settings) -> tuple[set[Demonstration], list[Kept], int]:
    number = round(settings.damaged_share * sum(len(item.places) for item in left))
    if not number:
        return set(), [], 0
    with_slip = [
        (item, place, slip) for item in left for place, slip in zip(item.places, item.slips, strict=True) if slip
    ]
    doubtful = [entry for entry in with_slip if not entry[2].certain]
    wrong = refuted([slip.answer for _, _, slip in doubtful], [item.solution for item, _, _ in doubtful])
    right = {(item.row, place) for (item, place, _), is_wrong in zip(doubtful, wrong, strict=True) if not is_wrong}
    can = [(item, place) for item, place, _ in with_slip if (item.row, place) not in right]
    can_be = {(item.row, place) for item, place in can}
    beyond = [item for item in left for place in item.places if (item.row, place) not in can_be]
    chosen = drawn(number, [(item.key, place) for item, place in can], settings.seed, Purpose.DAMAGED)
    return {(can[place][0].row, can[place][1]) for place in chosen}, beyond, number - len(chosen)
