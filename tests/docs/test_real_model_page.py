"""docs/real_model.md, and what other pages say of it: the figures are those of the recorded runs."""

import re
from pathlib import Path
from statistics import fmean

from prefix_rft_trl import lab


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "real_model.md").read_text()
TABLES = lab.recorded_results()["tables"]
RUNS = {row["label"]: row["experiments"][0]["runs"] for row in TABLES[0]["rows"]}


def accuracies(label: str, step: int | None = None) -> list[float]:
    """Of each seed, after so many steps or at the end."""
    lines = [[line for line in run["curve"] if step in (None, line["step"])][-1] for run in RUNS[label]]
    return [line["accuracy"] for line in lines]


def test_the_table_of_methods_has_means_seeds_and_cost():
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if " min |" in line]
    expected = []
    for label, runs in RUNS.items():
        minutes = fmean(run["curve"][-1]["seconds"] for run in runs) / 60
        on_the_way = [f"{fmean(accuracies(label, step)):.2f}" for step in (10, 20, 30)]
        seeds = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies(label))
        expected.append([*on_the_way, f"{fmean(accuracies(label)):.2f}", seeds, f"{minutes:.0f} min"])
    assert [row[1:] for row in shown] == expected
    assert [row[0].removesuffix(" (80 steps)") for row in shown] == list(RUNS)


def test_runs_and_hours_are_those_of_the_comparison():
    every = {
        (one["name"], run["seed"]): run["curve"][-1]["seconds"]
        for table in TABLES
        for row in table["rows"]
        for one in row["experiments"]
        for run in one["runs"]
    }
    runs, hours = re.search(r"That is (\d+) runs and (\d+) hours of training", PAGE).groups()
    assert (int(runs), int(hours)) == (len(every), round(sum(every.values()) / 3600))


def test_which_method_has_the_same_figures():
    text = (ROOT / "docs" / "which_method.md").read_text()
    (of_model,) = re.findall(r"mean of two seeds: (SFT .*?), in this order", text)
    shown = dict(re.findall(r"([A-Z][\w -]*?) (\d\.\d\d)", of_model))
    names = {"RFT": "RFT (Dr. GRPO)", "UFT": "UFT (coefficient 1)"}
    found = {name: f"{fmean(accuracies(names.get(name, name))):.2f}" for name in shown}
    assert shown == found
    assert len(shown) == len(RUNS)


def test_accuracies_with_brief_demonstrations_are_those_of_their_runs():
    text = re.search(r"^## Demonstrations in another style\n\n(.*)", PAGE, re.M)[1]
    (table,) = (table for table in TABLES if table["title"] == "Demonstrations in another style")
    finals = {
        row["label"]: [f"{one['runs'][0]['curve'][-1]['accuracy']:.2f}" for one in row["experiments"]]
        for row in table["rows"]
    }
    sft, prefix_rft = re.search(r"SFT ends at (.*?\)), and Prefix-RFT at (.*?\)),", text).groups()
    assert re.findall(r"\d\.\d\d", sft) == finals["SFT"][::-1]
    assert re.findall(r"\d\.\d\d", prefix_rft) == finals["Prefix-RFT"][::-1]


def test_the_order_is_the_same_with_both_seeds():
    finals = {label: accuracies(label) for label in RUNS}
    orders = [sorted(finals, key=lambda label, seed=seed: finals[label][seed]) for seed in (0, 1)]
    assert orders[0] == orders[1]
