"""What the log of a healthy run looks like beside those of runs that are not: real runs of the lab, and a picture.

    python benchmarks/healthy_run.py

trains the lab's easy level four times with the recipes of `recipes/lab`: Prefix-RFT as it should be; plain GRPO, which
has nothing to reinforce but guesses; Prefix-RFT with a learning rate that is fifty times too high; and with
demonstrations that all lead to a wrong answer. Each run is a folder with its `curve.jsonl`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl.run import read_curve


RECIPES = Path(__file__).parents[1] / "recipes" / "lab"
MEASURE_EVERY = 10
Curve = list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A run: its name in the picture, its recipe, what is changed in that, and how it is drawn."""

    label: str
    recipe: str
    flags: tuple[str, ...]
    colour: str
    line: str


RUNS = {
    "healthy": Run("healthy", "prefix_rft", (), "#0b6e4f", "-"),
    "starved": Run("starved (plain GRPO)", "grpo", (), "#b3541e", "--"),
    "too_fast": Run("learning rate 50 times too high", "prefix_rft", ("--learning_rate", "1e-2"), "#8f2d56", "-."),
    "misled": Run("wrong demonstrations", "prefix_rft", ("--lab_corrupted_share", "1.0"), "#33658a", ":"),
}
PANELS = {
    "prefix/reward_on_policy": "reward without a prefix",
    "prefix/reward_hybrid": "reward with a prefix",
    "prefix/advantage": "advantage on prefix tokens",
    "policy_entropy": "entropy of sampled tokens, nats",
    "completions/mean_length_on_policy": "length without a prefix, tokens",
    "frac_reward_zero_std": "groups whose rewards are equal",
}
# What plain GRPO calls by another name, since none of its rollouts has a prefix
OF_GRPO = {"prefix/reward_on_policy": "reward", "completions/mean_length_on_policy": "completions/mean_length"}


def train(name: str, folder: Path, steps: int, rows: int, seed: int) -> Curve:
    """The curve of a run, which is a process of its own.

    Raises:
        RuntimeError: with what it said, if it fails.
    """
    run = RUNS[name]
    command = [
        sys.executable,
        "-m",
        "prefix_rft_trl.cli.main",
        "train",
        "--config",
        str(RECIPES / f"{run.recipe}.yaml"),
    ]
    command += ["--lab_level", "easy", "--max_steps", str(steps), "--measure_rows", str(rows), "--seed", str(seed)]
    command += ["--measure_steps", str(MEASURE_EVERY), "--logging_steps", str(MEASURE_EVERY), *run.flags]
    command += ["--output_dir", str(folder / name), "--disable_tqdm", "true"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # one thread: tiny models
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return read_curve(folder / name)


def points(curve: Curve, metric: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, where the run has logged it."""
    of = _of(metric)
    found = [(line["step"], of(line)) for line in curve if of(line) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _of(metric: str) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line.get(metric, line.get(OF_GRPO.get(metric, metric)))


def draw(curves: dict[str, Curve], file: Path) -> None:
    """A small panel a metric, two beside each other, so that a phone shows them."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    figure = Figure(figsize=(6.4, 8.2), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True).flat
    for axis, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for name, curve in curves.items():
            run = RUNS[name]
            axis.plot(*points(curve, metric), run.line, color=run.colour, linewidth=1.8, label=run.label)
        axis.set_title(f"{title}\n{metric}", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-2:]:
        axis.set_xlabel("step", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(file, dpi=100, pil_kwargs={"optimize": True})


def table(curves: dict[str, Curve]) -> str:
    """Held-out accuracy before and after, in Markdown."""
    rows = [
        f"| {RUNS[name].label} | {curve[0]['accuracy']:.2f} | {curve[-1]['accuracy']:.2f} |"
        for name, curve in curves.items()
    ]
    return "\n".join(["| run | accuracy before | after |", "| --- | ---: | ---: |", *rows])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120, help="optimizer steps of each run (120)")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="which of them (all)")
    parser.add_argument("--measure_rows", type=int, default=512, help="held-out problems (512)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all runs (0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (the cores)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/healthy"), help="folder of the runs")
    parser.add_argument("--picture", type=Path, help="the PNG file (healthy_run.png in that folder)")
    arguments = parser.parse_args(argv)
    folder = arguments.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        settings = (folder, arguments.steps, arguments.measure_rows, arguments.seed)
        found = pool.map(lambda name: train(name, *settings), arguments.runs)
        curves = dict(zip(arguments.runs, found, strict=True))
    picture = arguments.picture or folder / "healthy_run.png"
    draw(curves, picture)
    print(table(curves))
    print(f"\nThe picture is {picture}.")


if __name__ == "__main__":
    main()
