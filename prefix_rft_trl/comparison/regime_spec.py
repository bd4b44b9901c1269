"""Read the `map:` of a `comparison.yaml`: axes with levels, planes of them, and claims to test.

map:
  axes:
    style:
      title: Style of the demonstrations
      levels:                          # the first one has no settings
        worked: {}
        brief: {lab_style: brief}
    budget:
      levels:
        100 steps: {}
        50 steps: {max_steps: 50, except: {sft_then_rft: {rft.max_steps: 50}}}  # settings of single recipes instead
  ignores: {sft: [budget]}             # axes that change nothing for a recipe: its runs are shared, not repeated
  planes:                              # two axes, the first goes down; the others stay at their first level
    - {style: all, budget: [100 steps, 50 steps]}
  claims:
    - {above: prefix_rft, below: sft_then_rft, where: {style: brief}}
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from prefix_rft_trl.utils.errors import nearest

from .regime_map import Axis, Claim, Levels, Place, Plane, RegimeMap, describe
from .trials import Trial, TrialReader, check_keys, mapping


EXCEPT = "except"  # settings of single recipes, in a level
ALL = "all"  # levels of an axis, in a plane
_KEYS = {"axes": dict, "ignores": dict, "planes": list, "claims": list}
_AXIS_KEYS = {"title": str, "levels": dict}
_CLAIM_KEYS = {"above": str, "below": str, "where": dict}


class RegimeReader:
    """What all cells of a map share.

    Args:
        given: the `map:` section.
        trials (`TrialReader`): makes the trials.
        labels (`dict[str, str]`): the label of each recipe to run.
        seeds (`int`): of each trial.
        where (`str`): stands before each error.

    Raises:
        ValueError: naming the place in the section, and the fix.
    """

    def __init__(self, given: Any, trials: TrialReader, labels: dict[str, str], seeds: int, where: str) -> None:
        self.trials, self.labels, self.seeds, self.where = trials, labels, seeds, where
        if len(set(labels.values())) < len(labels):
            raise ValueError(f"{where}: two recipes have one label. Give each its own in `labels`.")
        self.given = mapping(given, where)
        check_keys(self.given, _KEYS, where)
        axes = self.given.get("axes") or {}
        if not axes:
            raise ValueError(f"{where}: no axes. Name one, such as `axes: {{style: {{levels: {{worked: {{}}}}}}}}`.")
        self.axes = tuple(self._axis(str(name), own) for name, own in axes.items())
        self.by_name = {axis.name: axis for axis in self.axes}
        self._check_disjoint()
        self.ignored = self._ignored(self.given.get("ignores") or {})

    def read(self) -> RegimeMap[Trial]:
        """The map with all cells of its planes."""
        planes = tuple(self._plane(number, own) for number, own in enumerate(self.given.get("planes") or [], 1))
        if not planes:
            raise ValueError(f"{self.where}: no planes. Name two axes, such as `planes: [{{{self._example()}}}]`.")
        bare: RegimeMap[Trial] = RegimeMap(self.axes)
        places: dict[Place, Levels] = {}
        for plane in planes:
            for row in plane.row_levels:
                for column in plane.column_levels:
                    places.setdefault(bare.place(plane.levels(row, column)), plane.levels(row, column))
        cells = {place: self.cell(levels) for place, levels in places.items()}
        given_claims = enumerate(self.given.get("claims") or [], 1)
        claims = tuple(self._claim(number, own, bare, cells) for number, own in given_claims)
        return RegimeMap(self.axes, planes, claims, cells)

    def cell(self, levels: Levels) -> dict[str, Trial]:
        """A trial for each method by its label, with the levels of the cell that are not the first of their axis."""
        return {self.labels[recipe]: self._trial(recipe, levels) for recipe in self.labels}

    def parse_cell(self, text: str) -> Levels:
        """The levels of `success=half,style=brief`, checked: in the order of the axes, without the first of each."""
        parts = [part.strip().partition("=") for part in text.split(",")]
        if wrong := ["".join(part) for part in parts if not part[1]]:
            raise ValueError(f"--cell: expected AXIS=LEVEL, such as `{self._example_level()}`, found {wrong[0]!r}.")
        levels = {axis.strip(): level.strip() for axis, _, level in parts}
        if len(levels) < len(parts):
            raise ValueError(f"--cell: a cell has one level of each axis, found {text!r}.")
        self._check_levels(levels, "--cell")
        bare: RegimeMap[Trial] = RegimeMap(self.axes)
        return bare.differing(bare.place(levels))

    def _axis(self, name: str, given: Any) -> Axis:
        where = f"{self.where}, axis {name!r}"
        own = mapping(given, where)
        check_keys(own, _AXIS_KEYS, where)
        levels = {str(level): settings for level, settings in (own.get("levels") or {}).items()}
        if len(levels) < 2:
            raise ValueError(f"{where}: an axis needs at least two levels, found {len(levels)}.")
        for level, settings in levels.items():
            self._check_level(settings, f"{where}, level {level!r}")
        for word in (name, *levels):
            if set(word) & set(",="):
                raise ValueError(f"{where}: {word!r} has a comma or `=`, which part the levels of --cell. Rename it.")
        first = next(iter(levels))
        if levels[first]:
            raise ValueError(
                f"{where}: the first level, {first!r}, is that of the recipes and has no settings, found "
                f"{levels[first]!r}. Write `{first}: {{}}`, and put the settings into the recipes."
            )
        return Axis(name, own.get("title") or name, levels)

    def _check_level(self, settings: Any, where: str) -> None:
        if not isinstance(settings, dict):
            raise ValueError(f"{where}: expected its settings, such as `{{max_steps: 50}}`, found {settings!r:.80}.")
        for recipe, own in mapping(settings.get(EXCEPT), f"{where}, {EXCEPT}").items():
            self._check_recipe(recipe, f"{where}, {EXCEPT}")
            mapping(own, f"{where}, {EXCEPT}, {recipe}")

    def _check_recipe(self, recipe: Any, where: str) -> None:
        if recipe not in self.labels:
            raise ValueError(f"{where}: there is no recipe {recipe!r}. {_known(recipe, list(self.labels))}")

    def _check_disjoint(self) -> None:
        """Two axes with one setting would overwrite each other in a cell."""
        for one, other in combinations(self.axes, 2):
            pairs = ((first, second) for first in sorted(_names(one)) for second in sorted(_names(other)))
            if shared := next((pair for pair in pairs if _overwrite(*pair)), None):
                names = " and ".join(f"`{name}`" for name in dict.fromkeys(shared))
                raise ValueError(
                    f"{self.where}: the axes {one.name!r} and {other.name!r} both set {names}. Keep it in one."
                )

    def _ignored(self, given: Any) -> dict[str, list[str]]:
        where = f"{self.where}, ignores"
        for recipe, axes in mapping(given, where).items():
            self._check_recipe(recipe, where)
            if not isinstance(axes, list):
                raise ValueError(f"{where}, {recipe}: expected a list of axes, such as `[style]`, found {axes!r}.")
            for axis in axes:
                self._check_axis(axis, f"{where}, {recipe}")
        return dict(given)

    def _check_axis(self, axis: Any, where: str) -> None:
        if axis not in self.by_name:
            raise ValueError(f"{where}: there is no axis {axis!r}. {_known(axis, list(self.by_name))}")

    def _check_levels(self, levels: Levels, where: str) -> None:
        for axis, level in levels.items():
            self._check_axis(axis, where)
            if level not in (known := self.by_name[axis].levels):
                raise ValueError(f"{where}: the axis {axis!r} has no level {level!r}. {_known(level, list(known))}")

    def _plane(self, number: int, given: Any) -> Plane:
        where = f"{self.where}, plane {number}"
        own = mapping(given, where)
        if len(own) != 2:
            raise ValueError(f"{where}: expected two axes, such as `{{{self._example()}}}`, found {given!r:.80}.")
        shown = {name: self._shown(name, levels, where) for name, levels in own.items()}
        (rows, row_levels), (columns, column_levels) = shown.items()
        return Plane(self.by_name[rows], self.by_name[columns], row_levels, column_levels)

    def _shown(self, axis: Any, levels: Any, where: str) -> tuple[str, ...]:
        self._check_axis(axis, where)
        if levels == ALL:
            return tuple(self.by_name[axis].levels)
        if not (isinstance(levels, list) and levels):
            raise ValueError(f"{where}, {axis}: expected `{ALL}` or a list of levels, found {levels!r:.80}.")
        for level in levels:
            self._check_levels({axis: str(level)}, where)
        return tuple(dict.fromkeys(map(str, levels)))

    def _claim(self, number: int, given: Any, bare: RegimeMap[Trial], cells: dict[Place, Any]) -> Claim:
        where = f"{self.where}, claim {number}"
        own = mapping(given, where)
        check_keys(own, _CLAIM_KEYS, where)
        for side in ("above", "below"):
            self._check_recipe(own.get(side), f"{where}, `{side}`")
        levels = {str(axis): str(level) for axis, level in mapping(own.get("where"), f"{where}, where").items()}
        self._check_levels(levels, where)
        if bare.place(levels) not in cells:
            raise ValueError(f"{where}: no plane has the cell {describe(levels)}. Add its levels to a plane.")
        return Claim(self.labels[own["above"]], self.labels[own["below"]], levels)

    def _trial(self, recipe: str, levels: Levels) -> Trial:
        where = f"{self.where}, cell {describe(levels)}, {recipe}"
        overrides: dict[str, Any] = {}
        for axis in self.axes:
            if axis.name not in self.ignored.get(recipe, []):
                overrides |= _settings(axis.levels[levels.get(axis.name, axis.first)], recipe)
        return self.trials.trial(recipe, overrides, self.seeds, where)

    def _example(self) -> str:
        names = [*self.by_name, "style", "budget"][:2]
        return ", ".join(f"{name}: {ALL}" for name in names)

    def _example_level(self) -> str:
        axis = self.axes[0]
        return f"{axis.name}={list(axis.levels)[-1]}"


def _settings(level: dict[str, Any], recipe: str) -> dict[str, Any]:
    """The settings of a level for a recipe: its own, or else those of all."""
    shared = {name: value for name, value in level.items() if name != EXCEPT}
    return (level.get(EXCEPT) or {}).get(recipe, shared) or {}


def _names(axis: Axis) -> set[str]:
    """The settings of all levels of an axis."""
    exceptions = [own or {} for level in axis.levels.values() for own in (level.get(EXCEPT) or {}).values()]
    return {name for settings in (*axis.levels.values(), *exceptions) for name in settings} - {EXCEPT}


def _overwrite(one: str, other: str) -> bool:
    """Whether two settings are one, or that of a stage and that of all stages: `rft.max_steps` and `max_steps`."""
    return one == other or ((("." in one) != ("." in other)) and one.split(".")[-1] == other.split(".")[-1])


def _known(given: Any, known: Sequence[str]) -> str:
    return f"Known: {', '.join(known)}.{nearest(str(given), known)}"
