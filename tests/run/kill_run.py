"""An unbroken run, and one that is killed at random moments and resumed each time. Started by test_kill.py.

    python kill_run.py FOLDER [SEED]

Each run is a process forked from this one, which has made the trainer: a start takes a moment instead of ten seconds.
The run ends in its third epoch, saves in the middle of generation batches, and logs between its measurements.
Prints how the folders differ after the killed run has been resumed four times.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forking import exit_code, fork, report, warm_run

from prefix_rft_trl import lab


KILLS = 20
DEADLINE = 60  # seconds for a run to write its next checkpoint
RECIPE = Path(__file__).parents[2] / "recipes" / "lab" / "prefix_rft.yaml"
SETTINGS = """
    --dataset_name rows.jsonl --reward_funcs kill_run.graded_reward --logging_steps 3 --save_strategy steps
    --save_steps 1 --save_total_limit 3 --num_generations 4 --per_device_train_batch_size 8
    --gradient_accumulation_steps 2 --steps_per_generation 4 --num_iterations 2 --max_completion_length 20
    --learning_rate 1e-3 --lr_scheduler_type cosine --seed 3 --prefix_ratio_schedule adaptive
    --prefix_success_reward 0.5 --max_steps 80 --measure_steps 4 --dataset_test_file test.jsonl --measure_rows 4
    --measure_max_new_tokens 8 --output_dir run --disable_tqdm true --resume_from_checkpoint last
"""


def graded_reward(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
    """Hardly ever the same for all rollouts of a group, except for every third prompt or so."""
    pairs = zip(prompts, completions, strict=True)
    return [sum(map(ord, text)) % 11 / 10 if sum(map(ord, prompt)) % 3 else 0.0 for prompt, text in pairs]


def start(folder: Path, train: Callable[[], int]) -> int:
    def work() -> int:
        os.chdir(folder)
        return train()

    folder.mkdir(exist_ok=True)
    return fork(work, folder.with_suffix(".log"))


def furthest_step(folder: Path) -> int:
    return max((int(path.name[11:]) for path in folder.glob("run/checkpoint-*")), default=0)


def wait_for_checkpoint(folder: Path, step: int) -> float:
    """Waits for a checkpoint to be begun; returns when that was."""
    end = time.monotonic() + DEADLINE
    while furthest_step(folder) < step and time.monotonic() < end:
        time.sleep(0.002)
    return time.monotonic()


def kill_at_a_random_moment(folder: Path, train: Callable[[], int], moments: random.Random) -> int:
    before, process = furthest_step(folder), start(folder, train)
    if moments.random() < 0.8:  # otherwise while it starts
        first, second = (wait_for_checkpoint(folder, before + number) for number in (1, 2))
        time.sleep(moments.uniform(0, 3 * (second - first)))
    else:
        time.sleep(moments.uniform(0, 0.3))
    os.kill(process, signal.SIGKILL)
    return exit_code(process)


if __name__ == "__main__":
    torch.set_num_threads(1)
    base = Path(sys.argv[1]).resolve()
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
    print(f"seed of the moments: {seed}")
    os.chdir(base)
    lab.load_dataset("train", 32).to_json("rows.jsonl")
    lab.load_dataset("test", 4).to_json("test.jsonl")
    train = warm_run(["--config", str(RECIPE), *SETTINGS.split()])[1]
    unbroken, killed = base / "unbroken", base / "killed"
    whole = start(unbroken, train)
    moments = random.Random(seed)
    for _ in range(KILLS):
        code = kill_at_a_random_moment(killed, train, moments)
        print(f"ended with {code}, with checkpoint {furthest_step(killed)} begun", flush=True)
    codes = [exit_code(whole), *(exit_code(start(killed, train)) for _ in range(4))]
    report(killed, unbroken, codes)
