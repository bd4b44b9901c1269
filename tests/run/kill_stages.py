"""An unbroken run with stages, and runs that are killed between the passes of a step and resumed. See test_kill.py.

    python kill_stages.py FOLDER

The reward function kills: what it has scored before is lost, and the step has to be done again.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from forking import exit_code, fork, report, warm_run

from prefix_rft_trl import lab


RECIPE = Path(__file__).parents[2] / "recipes" / "lab" / "prefix_rft.yaml"
SETTINGS = """
    --dataset_name rows.jsonl --reward_funcs kill_stages.killing_reward --logging_steps 1 --save_strategy steps
    --save_steps 1 --num_generations 4 --per_device_train_batch_size 8 --gradient_accumulation_steps 2
    --max_completion_length 20 --learning_rate 1e-3 --seed 3 --prefix_success_reward 0.9 --max_steps 4
    --prefix_stage_ratios 0.25 0.5 0.75 --measure_steps 0 --output_dir run --disable_tqdm true
    --resume_from_checkpoint last
"""
FOLDERS = ("unbroken", "killed_after_first_pass", "killed_after_a_stage", "killed_twice")
scored = {"kill_at": 0, "calls": 0}


def killing_reward(prompts: list[str], completions: list[str], trainer_state: Any, **kwargs: Any) -> list[float]:
    scored["calls"] += 1
    if scored["calls"] == scored["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"scored in step {trainer_state.global_step}", flush=True)
    return [sum(map(ord, prompt + text)) % 9 / 8 for prompt, text in zip(prompts, completions, strict=True)]


def run(folder: Path, kill_at: int = 0) -> int:
    def work() -> int:
        os.chdir(folder)
        scored["kill_at"] = kill_at
        return train()

    folder.mkdir(exist_ok=True)
    return exit_code(fork(work, folder.with_suffix(".log")))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.modules["kill_stages"] = sys.modules["__main__"]  # the reward function has to count where this script does
    base = Path(sys.argv[1]).resolve()
    os.chdir(base)
    lab.load_dataset("train", 32).to_json("rows.jsonl")
    train = warm_run(["--config", str(RECIPE), *SETTINGS.split()])[1]
    unbroken, *killed = [base / name for name in FOLDERS]
    codes = [run(unbroken)]
    steps = [line.split()[-1] for line in unbroken.with_suffix(".log").read_text().splitlines() if "scored" in line]
    print(f"passes of each step: {[steps.count(str(step)) for step in range(4)]}")
    stage = steps.index("2") + 2  # the first stage of the third step is sampled, and about to be scored
    for folder, kills in zip(killed, ([stage], [stage + 1], [stage + 1, 2]), strict=True):
        deaths = [run(folder, kill_at) for kill_at in kills]
        print(f"ended with {deaths}")
        report(folder, unbroken, [*codes, run(folder)])
