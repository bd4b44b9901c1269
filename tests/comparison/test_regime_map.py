"""Winners, claims, heat maps and the JSON of a map of regimes, from made-up results."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from prefix_rft_trl.comparison import heat_map, regime_tables
from prefix_rft_trl.comparison.accuracy_tables import missing_seeds
from prefix_rft_trl.comparison.regime_map import Axis, Claim, Plane, RegimeMap
from prefix_rft_trl.comparison.report import build_report, write_report
from prefix_rft_trl.comparison.results import Comparison, Experiment, ResultRow, ResultTable, Run
from prefix_rft_trl.comparison.uncertainty import mean_difference
from prefix_rft_trl.comparison.winners import NoWinner, Winner, find_winner, judge
from prefix_rft_trl.utils.plot_style import COLOURS


STYLE = Axis("style", "Style", {"worked": {}, "brief": {"lab_style": "brief"}})
SUCCESS = Axis("success", "Base model succeeds", {"never": {}, "half": {"lab_level": "half"}})
PLANE = Plane(STYLE, SUCCESS, ("worked", "brief"), ("never", "half"))
COSTS = {"step": 9, "seconds": 2.0, "generated_tokens": 10, "trained_tokens": 20, "length": 4.0}


def experiment(name: str, solved: int, seeds: int = 3, **settings) -> Experiment:
    """Of 40 problems so many are solved, but for one that each seed misses."""
    return Experiment(name, name.partition("-")[0], {"rate": 1, **settings}, make_runs(name, solved, range(seeds)), 3)


def make_runs(name: str, solved: int, seeds: Iterable[int]) -> list[Run]:
    runs = []
    for seed in seeds:
        missed = random.Random(f"{name} {seed}").randrange(solved)
        rewards = [1.0 if place < solved and place != missed else 0.0 for place in range(40)]
        end = {"accuracy": sum(rewards) / 40, "problems": 40, "problem_rewards": rewards, **COSTS}
        runs.append(Run(seed, [{**end, "step": 0, "problem_rewards": None}, end]))
    return runs


@pytest.fixture(scope="module")
def regimes() -> RegimeMap[Experiment]:
    shared = experiment("grpo-0", 4)
    cells = {
        ("worked", "never"): {"SFT": experiment("sft-0", 36), "RFT": shared, "Prefix": experiment("prefix-0", 20)},
        ("worked", "half"): {"SFT": experiment("sft-1", 30), "RFT": shared, "Prefix": experiment("prefix-1", 30)},
        ("brief", "never"): {
            "SFT": experiment("sft-2", 5, lab_style="brief"),
            "RFT": shared,
            "Prefix": experiment("prefix-2", 28),
        },
        ("brief", "half"): {
            "SFT": experiment("sft-3", 5, seeds=0),
            "RFT": shared,
            "Prefix": experiment("prefix-3", 9),
        },
    }
    claims = (
        Claim("SFT", "Prefix", {}),
        Claim("SFT", "Prefix", {"style": "brief"}),
        Claim("SFT", "Prefix", {"success": "half"}),
        Claim("SFT", "Prefix", {"style": "brief", "success": "half"}),
    )
    return RegimeMap((STYLE, SUCCESS), (PLANE,), claims, cells)


@pytest.fixture(scope="module")
def comparison(regimes) -> Comparison:
    return Comparison("Map", "prefix-rft compare recipes/lab-map", 0.5, "held-out.", [], regimes, "SFT is free.")


@pytest.fixture(scope="module")
def report(comparison, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("map")
    write_report(comparison, folder)
    return folder


def test_a_winner_is_told_apart_if_all_others_are_shown_to_be_below_it(regimes):
    winner = find_winner(regimes.cell({}))
    assert (winner.label, winner.second, winner.level, winner.is_told_apart) == ("SFT", "Prefix", (), True)
    assert winner.mean.mean == pytest.approx(35 / 40)
    assert winner.margin.mean == pytest.approx(16 / 40)


def test_methods_that_are_level_are_listed(regimes):
    winner = find_winner(regimes.cell({"success": "half"}))
    assert (winner.label, winner.level, winner.is_told_apart) == ("SFT", ("Prefix",), False)


def test_where_a_method_is_missing_no_winner_is_told_apart(regimes):
    winner = find_winner(regimes.cell({"style": "brief", "success": "half"}))
    assert (winner.label, winner.measured, winner.methods, winner.is_told_apart) == ("Prefix", 2, 3, False)
    assert find_winner({"SFT": experiment("sft", 3, seeds=0)}) == NoWinner(0, 1)


@pytest.mark.parametrize(("measured", "word"), [(0, "not measured"), (5, "5 of 9 measured"), (6, None), (9, None)])
def test_no_winner_is_named_where_less_than_two_thirds_of_the_methods_are_measured(measured, word):
    found = find_winner({f"m{n}": experiment(f"m{n}", 30, seeds=3 if n < measured else 0) for n in range(9)})
    assert getattr(found, "word", None) == word
    assert isinstance(found, Winner) == (word is None)


def test_methods_are_compared_on_the_seeds_that_all_have():
    """By all seeds of each, `a` has the higher mean, and is below `b` on those that both have."""
    ends = {"a": {0: 20, 1: 20, 2: 39}, "b": {0: 22, 1: 22}}
    cell = {
        name: Experiment(name, name, {}, [run for seed, n in by.items() for run in make_runs(name, n, [seed])], 3)
        for name, by in ends.items()
    }
    winner = find_winner(cell)
    assert (winner.label, winner.second, winner.left_out, winner.mean.seeds) == ("b", "a", 1, 2)
    assert winner.margin.mean == pytest.approx(2 / 40)
    assert winner.mean.mean == pytest.approx(21 / 40)
    row = regime_tables.winners_table(PLANE, {("worked", "never"): winner}).rows[0]
    assert row[-1].endswith("over 2 of 3 seeds")


def test_methods_without_a_common_seed_have_no_winner():
    cell = {name: Experiment(name, name, {}, make_runs(name, 20, [seed]), 3) for seed, name in enumerate("ab")}
    assert find_winner(cell).word == "no seed in common"


def test_one_seed_tells_no_winner():
    winner = find_winner({"a": experiment("a", 39, seeds=1), "b": experiment("b", 1, seeds=1)})
    assert winner.is_of_one_seed
    assert not winner.is_told_apart


def test_claims_hold_fail_or_are_open(regimes):
    assert [judge(claim, regimes).word for claim in regimes.claims] == [
        "holds",
        "does not hold",
        "not told apart",
        "not measured",
    ]


@pytest.mark.parametrize(
    ("above", "below", "word"),
    [
        (make_runs("a", 20, [0, 1]), [], "not measured"),
        (make_runs("a", 20, [0, 1]), make_runs("b", 20, [2]), "no seed in common"),
        (
            make_runs("a", 20, [0, 1]),
            [Run(n, [{"accuracy": 0.5, "problems": 9, "problem_rewards": None}]) for n in (0, 1)],
            "measured on other problems",
        ),
    ],
)
def test_a_claim_that_cannot_be_judged_says_why(above, below, word):
    cell = {"A": Experiment("a", "a", {}, above), "B": Experiment("b", "b", {}, below)}
    regimes = RegimeMap((STYLE,), claims=(Claim("A", "B", {}),), cells={("worked",): cell})
    assert judge(regimes.claims[0], regimes).word == word


def test_the_json_has_each_run_once_with_all_that_paired_intervals_need(report, regimes):
    found = json.loads((report / "results.json").read_text())
    assert found["tables"] == []
    found = found["map"]
    assert found["planes"] == [{"style": ["worked", "brief"], "success": ["never", "half"]}]
    assert set(found["experiments"]) == {one.name for one in regimes.outcomes}
    assert found["methods"]["RFT"] == {"rate": 1}
    assert found["experiments"]["sft-2"]["settings"] == {"lab_style": "brief"}
    assert "curve" not in json.dumps(found)
    cell = next(one for one in found["cells"] if one["levels"] == {"style": "brief", "success": "never"})

    def runs(label: str) -> list[Run]:
        return [Run(run["seed"], [run]) for run in found["experiments"][cell["methods"][label]]["runs"]]

    of_file = mean_difference(runs("Prefix"), runs("SFT"))
    own = regimes.cell({"style": "brief"})
    assert of_file == mean_difference(own["Prefix"].runs, own["SFT"].runs)
    assert cell["winner"]["label"] == "Prefix"
    assert cell["winner"]["margin"]["low"] == of_file.low


def test_the_report_has_for_each_plane_its_winners_and_all_means(report, comparison):
    text = (report / "report.md").read_text()
    assert "## Style by base model succeeds" in text
    assert "![The method with the highest mean in each cell. worked, never: SFT" in text
    assert "**SFT**" in text
    assert "RFT. 2 of 3 measured" in text
    assert text.count("Full colour") == text.count(regime_tables.WINNERS) == 1
    assert "### Style: brief" in text
    assert "| does not hold" in text
    assert "`lab_style: brief`" in text
    assert text.index("SFT is free.") < text.index("Full colour") < text.index("## Style by")
    assert "24 of 27 planned runs of the map are there" in text
    assert "those that a method has in all cells are at the end of `report.html`" in text
    assert "one can be shown to be below by chance" in text
    assert (report / "figures" / "map1.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/svg+xml" in (report / "report.html").read_text()


def test_colours_of_the_heat_map_are_those_of_the_tables(comparison, undrawn, monkeypatch):
    seen = {}
    monkeypatch.setattr(heat_map, "drawn", lambda draw: None)
    monkeypatch.setattr("prefix_rft_trl.comparison.regime_section.draw_heat_map", lambda *given: seen.update(given[2]))
    assert build_report(comparison).colours == {label: style.colour for label, style in seen.items()}


def test_hatched_are_the_cells_whose_winner_is_not_told_apart(regimes, monkeypatch):
    patches = {}

    def draw(make):
        figure = Figure()
        make(figure)
        patches.update({(round(p.get_y() + 0.46), round(p.get_x() + 0.48)): p for p in figure.axes[0].patches})

    monkeypatch.setattr(heat_map, "drawn", draw)
    styles = {label: heat_map.Style.numbered(number) for number, label in enumerate(regimes.methods)}
    heat_map.draw_heat_map(PLANE, regime_tables.winners(PLANE, regimes), styles)
    assert {place: bool(patch.get_hatch()) for place, patch in patches.items()} == {
        (0, 0): False,
        (0, 1): True,
        (1, 0): False,
        (1, 1): False,
    }
    assert to_hex(patches[1, 1].get_facecolor()) == heat_map.NEUTRAL, "a method is missing"
    red, green, blue, _ = patches[0, 0].get_facecolor()
    assert (
        heat_map.mixed(COLOURS[0], 0.45) == f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
    )


@pytest.mark.parametrize("level", [2, 8])
def test_how_many_are_level_is_said_where_their_names_do_not_fit(level):
    cell = {f"m{n}": experiment(f"m{n}", 30 if n <= level else 2) for n in range(9)}
    winner = find_winner(cell)
    found = heat_map._others(winner, 12)
    assert len(winner.level) == level
    assert max(map(len, found.splitlines())) <= 12
    assert found.endswith("(8)") == (level == 8)


def test_runs_are_counted_against_those_that_are_planned():
    cell = {name: experiment(name, 20, seeds=1) for name in "ab"}
    regimes = RegimeMap((STYLE,), cells={("worked",): cell})
    assert regime_tables.missing_runs(regimes) == "2 of 6 planned runs of the map are there."
    table = ResultTable("T", "", [], [ResultRow(label, [one]) for label, one in cell.items()])
    assert missing_seeds(table) == "Not all have 3 seeds: a (1) and b (1)."


def test_a_map_without_runs_has_no_figure():
    empty = {place: {"SFT": experiment("sft", 3, seeds=0)} for place in [("worked", "never"), ("brief", "never")]}
    plane = Plane(STYLE, SUCCESS, ("worked", "brief"), ("never",))
    regimes = RegimeMap((STYLE, SUCCESS), (plane,), (), empty)
    assert heat_map.draw_heat_map(plane, regime_tables.winners(plane, regimes), {}) is None
    assert regime_tables.claims_table(regimes) is None
