"""Prefix-RFT on the lab's hard level that falls back after it has learned, and what happens if a step is changed.

    python benchmarks/falls_back.py

trains Prefix-RFT with demonstrations of 30% of the problems (seed 0), and continues that run from its checkpoints with
one setting changed at a time. After every step it measures how likely the model writes the complete demonstration of
held-out problems, at the end the held-out accuracy.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from prefix_rft_trl import lab
from prefix_rft_trl.run import read_curve


RECIPE = Path(__file__).parents[1] / "recipes" / "lab" / "prefix_rft.yaml"
PROBLEMS = 128  # on which the likelihood is measured
DECAY = '{"num_decay_steps": 40}'


@dataclass(frozen=True)
class Variant:
    """A continuation: its name in the picture, what is changed, the step it starts at, and how it is drawn."""

    label: str
    flags: tuple[str, ...]
    start: int
    colour: str
    line: str
    learning_rate: float | None = None  # a checkpoint brings its own


VARIANTS = {
    "base": Variant("unchanged", (), 0, "#8f2d56", "-"),
    "other_draws": Variant("another seed from step 80", ("--seed", "1"), 80, "#c98bb0", "--"),
    "no_gradient": Variant("prefix tokens without gradient", ("--prefix_selection", "none"), 80, "#33658a", "-."),
    "no_prefixes": Variant("no prefixes: plain GRPO", ("--num_prefix_generations", "0"), 80, "#b3541e", ":"),
    "half": Variant("learning rate halved", (), 80, "#0b6e4f", "-", 1e-4),
    "decay": Variant(
        "learning rate decays from step 60",
        ("--lr_scheduler_type", "warmup_stable_decay", "--lr_scheduler_kwargs", DECAY), 60, "#7aa95c", "--",
    ),
}  # fmt: skip


class LikelihoodOfEachStep(TrainerCallback):
    """Measures, after every step, the geometric mean of the probabilities of complete demonstrations."""

    def __init__(self, trainer: Any, file: Path, learning_rate: float | None):
        from prefix_rft_trl.evaluation.demonstration_likelihood import DemonstrationLikelihood, find_demonstrations

        rows = lab.load_dataset("test", PROBLEMS, level="hard")
        self.trainer, self.file, self.learning_rate = trainer, file, learning_rate
        self.likelihood = DemonstrationLikelihood(trainer, find_demonstrations(rows, "completion"), 1024)
        lengths = [len(one.ids) for part in self.likelihood.passes for one in part]
        self.tokens = sum(lengths) / len(lengths)

    def on_train_begin(self, args, state, control, **kwargs):
        self.file.write_text("", encoding="utf-8")
        self._measure(state.global_step)

    def on_step_begin(self, args, state, control, **kwargs):
        for group in self.trainer.optimizer.param_groups if self.learning_rate else []:
            group["lr"] = self.learning_rate

    def on_step_end(self, args, state, control, **kwargs):
        self._measure(state.global_step)

    def _measure(self, step: int) -> None:
        probability = math.exp(self.likelihood.measure()["demonstration_logp"] * self.tokens)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "probability": probability}) + "\n")


def train(name: str, folder: Path, steps: int, start: int, others: Iterable[str]) -> None:
    """Trains a variant into its folder, from the checkpoint of the unchanged run at the step that it starts at."""
    from prefix_rft_trl.cli.launch.recipe import Recipe
    from prefix_rft_trl.cli.launch.training_script import make_trainer

    variant, output = VARIANTS[name], folder / name
    saving = ["--save_strategy", "steps", "--save_steps", "20"] if name == "base" else []
    resuming = ["--resume_from_checkpoint", str(folder / "base" / f"checkpoint-{start}")] if start else []
    flags = ["--output_dir", str(output), "--max_steps", str(steps), "--lab_demonstrated_share", "0.3", *saving]
    flags += [*resuming, "--measure_steps", "20", *others, *variant.flags]
    script_args, training_args, model_args = Recipe.read(["--config", str(RECIPE), *flags]).parse()
    output.mkdir(parents=True, exist_ok=True)
    trainer, _ = make_trainer(script_args, training_args, model_args)
    trainer.add_callback(LikelihoodOfEachStep(trainer, output / "likelihood.jsonl", variant.learning_rate))
    trainer.train(training_args.resume_from_checkpoint)


def draw(names: Iterable[str], folder: Path, picture: Path, first: int) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name in names:
        variant = VARIANTS[name]
        lines = [json.loads(line) for line in (folder / name / "likelihood.jsonl").read_text().splitlines()]
        shown = [line for line in lines if line["step"] >= first]
        label = f"{variant.label}: accuracy {read_curve(folder / name)[-1]['accuracy']:.2f}"
        steps, values = [line["step"] for line in shown], [line["probability"] for line in shown]
        axes.plot(steps, values, color=variant.colour, linestyle=variant.line, linewidth=1.8, label=label)
    axes.set(xlabel="optimizer step", ylabel="probability of the complete demonstration\n(geometric mean)")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    figure.savefig(picture, dpi=150, facecolor="white")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="what to train")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of a run")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/falls-back"), help="folder of runs and picture")
    options, others = parser.parse_known_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in options.runs:
        start = VARIANTS[name].start * (options.steps >= 100)
        print(f"{name}: {options.steps - start} steps", flush=True)
        train(name, options.output_dir, options.steps, start, [*others, "--disable_tqdm", "true"])
    picture = options.output_dir / "falls_back.png"
    draw(options.runs, options.output_dir, picture, min(60, options.steps - 1))
    print(f"\nThe picture is {picture}.")


if __name__ == "__main__":
    main()
