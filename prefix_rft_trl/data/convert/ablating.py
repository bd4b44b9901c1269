"""Which problems keep their demonstrations, and which demonstrations are damaged."""

from collections.abc import Sequence
from dataclasses import dataclass

from .draws import Purpose, drawn
from .options import Settings
from .refuting import refuted
from .selection import Kept


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
