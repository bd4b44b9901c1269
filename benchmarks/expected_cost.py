"""Estimate what a recipe for a large model takes in memory and time, from sizes and speeds: not a measurement.

    python benchmarks/expected_cost.py recipes/qwen2.5-math-7b/prefix_rft.yaml
    python benchmarks/expected_cost.py recipes/qwen2.5-math-7b/prefix_rft.yaml \
        --lengths 1200 8192 --without_gradient 0.6

It takes neither the model nor a GPU. `prefix-rft train --dry_run` estimates any recipe by the same formulas, from the
config of its model, its data and the device that it finds (prefix_rft_trl/estimates/cost.py, docs/recipes.md).
"""

import argparse
from pathlib import Path
from typing import Any

from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.estimates.completion_lengths import LengthDistribution
from prefix_rft_trl.estimates.cost import (
    GB,
    MEAN_SHARE,
    WITHOUT_GRADIENT,
    Workload,
    has_further_samples,
    memory,
    seconds_of_step,
    two_digits,
)
from prefix_rft_trl.estimates.devices import GPUS, Device
from prefix_rft_trl.estimates.model_size import ModelSize
from prefix_rft_trl.utils.recipe_files import find_recipe_file


MODELS = {
    "Qwen/Qwen2.5-Math-7B": ModelSize(7.62e9, 28, 3584, 18944, 152064, 4),
    "Qwen/Qwen2.5-Math-1.5B": ModelSize(1.54e9, 28, 1536, 8960, 151936, 2),
    "meta-llama/Llama-3.1-8B": ModelSize(8.03e9, 32, 4096, 14336, 128256, 8),
    "Qwen/Qwen3-1.7B-Base": ModelSize(1.72e9, 28, 2048, 6144, 151936, 8),
}


def estimate(settings: dict[str, Any], gpu: Device, gpus: int, demonstrations: int, **assumed: Any) -> list[str]:
    """What one training takes, in a line, and what that rests on; several GPUs share gradients and optimizer (ZeRO-2).

    Args:
        assumed: `lengths` and `without_gradient` of `Workload.from_settings`.
    """
    model, work = MODELS[settings["model_name_or_path"]], Workload.from_settings(settings, shards=gpus, **assumed)
    of_step = seconds_of_step(work, model, gpu)
    if work.samples:
        steps, length = settings["max_steps"], f"{settings['max_steps']} steps"
    else:
        steps = settings["num_train_epochs"] * demonstrations / (work.layout.rows * work.layout.accumulation * gpus)
        passes = settings["num_train_epochs"]
        length = f"{passes} {'pass' if passes == 1 else 'passes'} over {demonstrations:,} demonstrations"
    used = memory(work, model, gpu) / GB
    without_stages = " without its stages" if has_further_samples(settings) else ""
    return [
        f"{used:.0f} of {gpu.memory / GB:.0f} GB a GPU, {of_step:.3g} s a step{without_stages}, "
        f"{two_digits(of_step * steps / 3600)} hours for {length}",
        work.assumptions,
    ]


def trainings(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    return {name: {**shared, **own} for name, own in recipe.get("stages", {"": {}}).items()}


def report(path: Path, gpu: Device, gpus: int, demonstrations: int, **assumed: Any) -> list[str]:
    """Two lines for each training of a recipe."""
    recipe = read_with_bases(find_recipe_file(path))[0]
    return [
        ": ".join(filter(None, (name, line)))
        for name, settings in trainings(recipe).items()
        for line in estimate(settings, gpu, gpus, demonstrations, **assumed)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--gpu", choices=GPUS, default="h100")
    parser.add_argument("--gpus", type=int, default=8, help="of one node (8)")
    parser.add_argument("--demonstrations", type=int, default=46_000, help="of the dataset, for SFT (46000)")
    parser.add_argument(
        "--lengths",
        type=float,
        nargs=2,
        metavar=("MEAN", "LONGEST"),
        help="tokens of completions or demonstrations, log-normal, or equal where both are the same; a log shows "
        f"both as completions/mean_length and completions/max_length ({MEAN_SHARE:g} of the budget, and all of it)",
    )
    parser.add_argument(
        "--without_gradient",
        type=float,
        default=WITHOUT_GRADIENT,
        help=f"share of groups whose rewards are all equal ({WITHOUT_GRADIENT:g}); a log shows it as "
        "frac_reward_zero_std",
    )
    given = parser.parse_args()
    try:
        lengths = LengthDistribution(*given.lengths) if given.lengths else None
        assumed = {"lengths": lengths, "without_gradient": given.without_gradient}
        lines = report(given.recipe, GPUS[given.gpu], given.gpus, given.demonstrations, **assumed)
    except ValueError as error:
        parser.error(str(error))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
