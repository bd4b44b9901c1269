"""Step time and peak memory of PrefixGRPOTrainer beside GRPOTrainer, in one run, as a ratio.

    python benchmarks/step_time_and_memory.py

On the lab, with completions of equal length: every rollout decodes until the budget, so the ratio is the cost of the
splice, the entropy clipping and the logging. Each measurement is a process of its own, because the peak of memory is a
process's; the two trainers take turns, and the medians are compared.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from _measuring import lab_config


COMPLETION_LENGTH = 40
WARM_UP_STEPS = 3


def measure(trainer_name: str, steps: int) -> dict[str, float]:
    """Median seconds a step, without the first ones, and the peak of resident memory in MiB."""
    import torch
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    from prefix_rft_trl import PrefixGRPOTrainer, lab

    class StepTimes(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *args, **kwargs):
            self.start = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            self.seconds.append(time.perf_counter() - self.start)

    torch.set_num_threads(1)
    trainer_class = {"GRPOTrainer": GRPOTrainer, "PrefixGRPOTrainer": PrefixGRPOTrainer}[trainer_name]
    with tempfile.TemporaryDirectory() as folder:
        args = lab_config(
            folder,
            max_steps=steps + WARM_UP_STEPS,
            max_completion_length=COMPLETION_LENGTH,
            generation_kwargs={"min_new_tokens": COMPLETION_LENGTH},
            disable_tqdm=True,
        )
        times = StepTimes()
        trainer = trainer_class(
            model=lab.base_model_path(),
            reward_funcs=lab.exact_answer_reward,
            args=args,
            train_dataset=lab.load_dataset("train"),
            callbacks=[times],
        )
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(times.seconds[WARM_UP_STEPS:]), "MiB": peak}


def compare(steps: int, rounds: int) -> None:
    names = ("GRPOTrainer", "PrefixGRPOTrainer")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            command = [sys.executable, __file__, "--measure", name, "--steps", str(steps)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            found[name].append(json.loads(output.splitlines()[-1]))
            print(f"round {number + 1} of {rounds}, {name}: {found[name][-1]}", file=sys.stderr)
    medians = {
        unit: {name: statistics.median(run[unit] for run in found[name]) for name in names}
        for unit in ("seconds", "MiB")
    }
    print(
        f"{rounds} rounds of {steps} steps, 64 rollouts of {COMPLETION_LENGTH} tokens, {platform.machine()}, 1 thread"
    )
    print(f"{'':<14}{'GRPOTrainer':>14}{'PrefixGRPOTrainer':>20}{'ratio':>8}")
    for label, unit, digits in (("step time, s", "seconds", 3), ("peak, MiB", "MiB", 0)):
        grpo, prefix = (medians[unit][name] for name in names)
        print(f"{label:<14}{grpo:>14.{digits}f}{prefix:>20.{digits}f}{prefix / grpo:>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a round (30)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each trainer (3)")
    parser.add_argument("--measure", choices=("GRPOTrainer", "PrefixGRPOTrainer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.steps)))
    else:
        compare(arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
