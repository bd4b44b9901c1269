"""A made-up comparison, whose curves rise as a method's do, with tokens and seconds."""

import math
import random
from pathlib import Path

import pytest

from prefix_rft_trl.comparison import curves, finals_figure
from prefix_rft_trl.comparison.drawing import Drawing
from prefix_rft_trl.comparison.report import write_report
from prefix_rft_trl.comparison.results import Comparison, Experiment, ResultRow, ResultTable, Run


def make_run(seed: int, end: float = 0.9, rise_at: float = 50, steps: int = 120, prefix: bool = False) -> Run:
    chance = random.Random(f"{seed} {end} {rise_at}")
    rise_at *= 1 + 0.15 * chance.uniform(-1, 1)
    lines = []
    for step in range(0, steps + 1, 10):
        share = 1 / (1 + math.exp(-(step - rise_at) / 8)) if step else 0.0
        line = {
            "step": step,
            "seconds": 0.25 * step,
            "accuracy": 0.18 + (end - 0.18) * share + (0.02 * chance.uniform(-1, 1) if step else 0),
            "length": 3 + 28 * share,
            "generated_tokens": round(64 * step * (3 + 15 * share)),
            "trained_tokens": round(64 * step * (3 + 15 * share)),
        }
        if step:
            line["policy_entropy"] = 0.4 - 0.3 * share
        if step and prefix:
            line["prefix/length"] = 24 - 0.1 * step
        lines.append(line)
    return Run(seed, lines)


def make_experiment(name: str, seeds: int = 3, settings: dict | None = None, **shape) -> Experiment:
    return Experiment(name, name, settings or {}, [make_run(seed, **shape) for seed in range(seeds)])


SAMPLING = {"learning_rate": 2e-4, "num_generations": 8, "per_device_train_batch_size": 64, "max_steps": 120}


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    methods = [
        ResultRow("SFT", [make_experiment("sft", settings={"learning_rate": 5e-4, "output_dir": "a"}, end=0.82)]),
        ResultRow("RFT", [make_experiment("grpo", settings=SAMPLING, end=0.2)]),
        ResultRow("Prefix-RFT <ours> | x", [make_experiment("prefix", settings=SAMPLING, prefix=True)]),
    ]

    def damaged(label: str, rate: float, end: float) -> ResultRow:
        cells = {share: {"damaged": share, "rate": rate} for share in (0, 0.3)}
        return ResultRow(label, [make_experiment(f"{label}-{s}", settings=cells[s], end=end - s) for s in cells])

    tables = [
        ResultTable("Methods", "All train the same `base` model.", [], methods),
        ResultTable(
            "Damaged demonstrations",
            "A share has wrong steps.",
            ["0%", "30%"],
            [damaged("SFT", 5e-4, 0.6), damaged("Prefix-RFT", 2e-4, 0.93)],
        ),
    ]
    return Comparison("Methods <on> the lab", "prefix-rft compare recipes/lab", 0.8, "held-out.", tables)


@pytest.fixture(scope="session")
def report(comparison, tmp_path_factory) -> Path:
    """Folder of the comparison's report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(comparison, folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leaves the figures empty, which take most of the time of a report."""
    for module in (curves, finals_figure):
        monkeypatch.setattr(module, "drawn", lambda draw: Drawing("<svg/>", b""))
