"""PrefixGRPOTrainer beside GRPOTrainer on one GPU in bf16: step time, tokens a second, peak memory, reward curves.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --use_vllm --model HuggingFaceTB/SmolLM2-135M-Instruct --dataset openai/gsm8k

The lab with the settings of its quickstart, and a small instruction model on GSM8K with those of
recipes/gsm8k/prefix_rft.yaml. Then the same model on the completions of benchmarks/compute.py, of ragged lengths:
nothing is sampled there, so a step is the training alone. 50 steps each. Each run is a process of its own. Writes
gpu.md, gpu.json and gpu.svg.

    python benchmarks/gpu.py --device cpu --steps 2 --rollouts 8 --completion_length 64

only shows that the script runs: on a CPU it computes in float32, with one thread.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import compute
from _measuring import RECIPES, in_a_process, lab_config, recipe_config, step_clock


RECIPE = RECIPES / "gsm8k" / "prefix_rft.yaml"
TASKS = ("lab", "gsm8k", "ragged", "ragged, 3 of 8")  # the last two as in compute.py
MEAN_LENGTH, MICRO_BATCH = 256, 8  # tokens of a given completion, rows of a forward pass over them
TRAINERS = ("GRPOTrainer", "PrefixGRPOTrainer")
ENDS = 5  # steps, at most, whose mean is the reward at the start or the end of a run


def shared_settings(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What replaces the settings of a recipe."""
    on_cpu = arguments.device == "cpu"
    settings: dict[str, Any] = {
        "output_dir": folder,
        "max_steps": arguments.steps,
        "use_cpu": on_cpu,
        "bf16": not on_cpu,
        "logging_steps": 1,
        "log_completions": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if arguments.completion_length:
        settings["max_completion_length"] = arguments.completion_length
    if arguments.rollouts:
        settings |= {"per_device_train_batch_size": arguments.rollouts, "gradient_accumulation_steps": 1}
    if arguments.use_vllm:
        settings |= {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3}
    return settings


def lab_run(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    from prefix_rft_trl import lab

    return {
        "model": lab.base_model_path(),
        "reward_funcs": lab.exact_answer_reward,
        "args": lab_config(**shared_settings(arguments, folder)),
        "train_dataset": lab.load_dataset("train"),
    }


def gsm8k_run(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    from prefix_rft_trl.cli.launch.recipe import load_recipe
    from prefix_rft_trl.data.held_out import pick_split
    from prefix_rft_trl.data.loading import load_splits, with_prompts
    from prefix_rft_trl.rewards import load_reward

    recipe = load_recipe(RECIPE)
    splits = load_splits(arguments.dataset or recipe["dataset_name"], recipe["dataset_config"])
    rows = pick_split(splits, recipe["dataset_train_split"])
    return {
        "model": arguments.model or recipe["model_name_or_path"],
        "reward_funcs": [load_reward(name) for name in recipe["reward_funcs"]],
        "args": recipe_config(recipe, **shared_settings(arguments, folder)),
        "train_dataset": with_prompts(rows, recipe["prompt_column"], recipe["instruction"], recipe["conversational"]),
    }


def given_completions(task: str, trainer_class: Any, arguments: argparse.Namespace, folder: str, clock: Any) -> Any:
    """A trainer that is given completions of a distribution of lengths, all on-policy."""
    from prefix_rft_trl.cli.launch.recipe import load_recipe

    length = arguments.completion_length
    settings = {
        "per_device_train_batch_size": MICRO_BATCH,
        "gradient_accumulation_steps": compute.ROLLOUTS // MICRO_BATCH,
        **shared_settings(arguments, folder),
        "use_vllm": False,
    }
    return compute.prepared_trainer(
        trainer_class,
        task,
        length // compute.LONGEST if length else MEAN_LENGTH,
        arguments.model or load_recipe(RECIPE)["model_name_or_path"],
        [clock],
        **settings,
    )


def measure(task: str, trainer_name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and rewards of each step, completion tokens of a step, peak of memory in MiB."""
    import torch
    import trl

    import prefix_rft_trl

    on_cpu = arguments.device == "cpu"
    if on_cpu:
        torch.set_num_threads(1)
    trainer_class = getattr(trl if trainer_name == "GRPOTrainer" else prefix_rft_trl, trainer_name)
    with tempfile.TemporaryDirectory() as folder:
        clock = step_clock()
        if task in compute.DISTRIBUTIONS:
            trainer = given_completions(task, trainer_class, arguments, folder, clock)
        else:
            run = {"lab": lab_run, "gsm8k": gsm8k_run}[task](arguments, folder)
            trainer = trainer_class(**run, callbacks=[clock])
        trainer.train()
    logs = [line for line in trainer.state.log_history if "reward" in line]
    peak_of_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rollouts = trainer.args.generation_batch_size
    return {
        "device": platform.machine() if on_cpu else torch.cuda.get_device_name(),
        "seconds": clock.seconds,
        "tokens": [rollouts * line["completions/mean_length"] for line in logs],
        "MiB": peak_of_process if on_cpu else torch.cuda.max_memory_allocated() / 2**20,
        "reward": [line.get("prefix/reward_on_policy", line["reward"]) for line in logs],
    }


def row(task: str, trainer_name: str, run: dict[str, Any]) -> list[str]:
    later = slice(1 if len(run["seconds"]) > 1 else 0, None)  # the first step warms up
    seconds, tokens = (run[name][later] for name in ("seconds", "tokens"))
    of_end = max(1, min(ENDS, len(run["reward"]) // 2))
    first, last = (statistics.mean(part) for part in (run["reward"][:of_end], run["reward"][-of_end:]))
    return [
        task,
        trainer_name,
        f"{statistics.median(seconds):.3f}",
        f"{sum(tokens) / sum(seconds):.0f}",
        f"{run['MiB']:.0f}",
        f"{first:.3f}",
        f"{last:.3f}",
    ]


def markdown(found: dict[str, Any], arguments: argparse.Namespace) -> str:
    runs = [(task, name, run) for task, of_task in found.items() for name, run in of_task.items()]
    on_cpu = arguments.device == "cpu"
    head = ["task", "trainer", "step, s", "tokens a second", "peak memory, MiB", "reward at start", "at end"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *(row(*run) for run in runs)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return (
        f"{runs[0][2]['device']}, {'float32, 1 thread' if on_cpu else 'bf16'}, {arguments.steps} steps"
        f"{', vLLM' if arguments.use_vllm else ''}. Times without the first step; tokens of completions; rewards of "
        f"rollouts without a prefix, mean of at most {ENDS} steps; memory "
        f"{'of the process' if on_cpu else 'that PyTorch has allocated on the GPU'}.\n\n{table}\n"
    )


def draw(found: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(5 * len(found), 3.2), squeeze=False)
    for axis, (task, of_task) in zip(axes[0], found.items(), strict=True):
        for name, run in of_task.items():
            axis.plot(range(1, len(run["reward"]) + 1), run["reward"], label=name)
        axis.set(title=task, xlabel="step", ylabel="reward without a prefix")
        axis.legend()
    figure.tight_layout()
    figure.savefig(file)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="what is trained (all)")
    parser.add_argument("--model", help="but for the lab: name on the Hub or folder (that of the recipe)")
    parser.add_argument("--dataset", help="for GSM8K: name on the Hub or file (that of the recipe)")
    parser.add_argument("--steps", type=int, default=50, help="of each run (50)")
    parser.add_argument("--rollouts", type=int, help="a step, a multiple of 8, without accumulation (of the recipes)")
    parser.add_argument("--completion_length", type=int, help="tokens at most (of the recipes)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--use_vllm", action="store_true", help="generate with vLLM, colocated")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder (runs/gpu)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.use_vllm and arguments.device == "cpu":
        parser.error("--use_vllm takes a GPU here; benchmarks/generation_paths.py measures vLLM on a CPU")
    return arguments


def main(argv: list[str]) -> None:
    arguments = parse(argv)
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, arguments)))
        return
    found: dict[str, Any] = {}
    for task in arguments.tasks:
        for name in TRAINERS:
            found.setdefault(task, {})[name] = in_a_process(
                __file__,
                [*argv, "--measure", task, name],
                CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"),
            )
            print(" ".join(row(task, name, found[task][name])), file=sys.stderr)
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = markdown(found, arguments)
    (arguments.output / "gpu.md").write_text(table, encoding="utf-8")
    (arguments.output / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, arguments.output / "gpu.svg")
    print(table, end="")


if __name__ == "__main__":
    main(sys.argv[1:])
