"""What a recipe for a large model takes in memory and time: an estimate from sizes and speeds, not a measurement.

    python benchmarks/expected_cost.py recipes/qwen2.5-math-7b/prefix_rft.yaml

It takes neither the model nor a GPU. `prefix-rft train --dry_run` estimates any recipe by the same formulas, from the
config of its model, its data and the device that it finds (prefix_rft_trl/estimates/cost.py, docs/recipes.md).
"""

import argparse
from pathlib import Path
from typing import Any

import yaml

from prefix_rft_trl.estimates.cost import GB, Workload, memory, seconds_of_step
from prefix_rft_trl.estimates.devices import GPUS, Device
from prefix_rft_trl.estimates.model_size import ModelSize
from prefix_rft_trl.utils.recipe_files import find_recipe_file


MODELS = {
    "Qwen/Qwen2.5-Math-7B": ModelSize(7.62e9, 28, 3584, 18944, 152064, 4),
    "Qwen/Qwen2.5-Math-1.5B": ModelSize(1.54e9, 28, 1536, 8960, 151936, 2),
    "meta-llama/Llama-3.1-8B": ModelSize(8.03e9, 32, 4096, 14336, 128256, 8),
    "Qwen/Qwen3-1.7B-Base": ModelSize(1.72e9, 28, 2048, 6144, 151936, 8),
}


def estimate(settings: dict[str, Any], gpu: Device, gpus: int, demonstrations: int) -> str:
    """What one training takes, in a line; several GPUs share gradients and optimizer (ZeRO-2)."""
    model, work = MODELS[settings["model_name_or_path"]], Workload.from_settings(settings, shards=gpus)
    of_step = seconds_of_step(work, model, gpu)
    if work.samples:
        steps, length = settings["max_steps"], f"{settings['max_steps']} steps"
    else:
        steps = settings["num_train_epochs"] * demonstrations / (work.rows * work.accumulation * gpus)
        length = f"{settings['num_train_epochs']} passes over {demonstrations:,} demonstrations"
    used = memory(work, model, gpu) / GB
    return (
        f"{used:.0f} of {gpu.memory / GB:.0f} GB a GPU, {of_step:.3g} s a step, "
        f"{of_step * steps / 3600:.2g} hours for {length}"
    )


def trainings(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    return {name: {**shared, **own} for name, own in recipe.get("stages", {"": {}}).items()}


def report(path: Path, gpu: Device, gpus: int, demonstrations: int) -> list[str]:
    """A line for each training of a recipe."""
    recipe = yaml.safe_load(find_recipe_file(path).read_text(encoding="utf-8"))
    return [
        ": ".join(filter(None, (name, estimate(settings, gpu, gpus, demonstrations))))
        for name, settings in trainings(recipe).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--gpu", choices=GPUS, default="h100")
    parser.add_argument("--gpus", type=int, default=8, help="of one node (8)")
    parser.add_argument("--demonstrations", type=int, default=46_000, help="of the dataset, for SFT (46000)")
    arguments = parser.parse_args()
    print("\n".join(report(arguments.recipe, GPUS[arguments.gpu], arguments.gpus, arguments.demonstrations)))


if __name__ == "__main__":
    main()
