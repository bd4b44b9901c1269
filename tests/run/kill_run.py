"""An unbroken run, and one that is killed at ten random moments and resumed each time. Started by test_kill.py.

    python kill_run.py FOLDER

Each run is a process forked from this one, which has imported everything: a start takes a second instead of ten. The
run is in its third epoch when it ends, and saves in the middle of generation batches.
"""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


KILLS = 10
DEADLINE = 60  # seconds for a run to write its next checkpoint


def train(folder: Path) -> None:
    args = PrefixGRPOConfig(
        str(folder), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
        logging_steps=3, save_steps=1, save_total_limit=3, num_generations=4, per_device_train_batch_size=8,
        gradient_accumulation_steps=2, steps_per_generation=4, num_iterations=2, max_completion_length=20,
        learning_rate=1e-3, lr_scheduler_type="cosine", seed=3, prefix_ratio_schedule="adaptive",
        prefix_success_reward=0.5, max_steps=80,
    )  # fmt: skip
    trainer = PrefixGRPOTrainer(lab.base_model_path(), graded_reward, args, lab.load_dataset("train", 32))
    trainer.train("last")
    trainer.save_model(str(folder))


def graded_reward(completions: list[str], **kwargs: Any) -> list[float]:
    """Hardly ever the same for all rollouts of a group."""
    return [sum(map(ord, completion)) % 11 / 10 for completion in completions]


def fork(work: Callable[[], None], log: Path) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def furthest_step(folder: Path) -> int:
    return max((int(path.name[11:]) for path in folder.glob("checkpoint-*")), default=0)


def wait_for_checkpoint(folder: Path, step: int) -> float:
    """Waits for a checkpoint to be begun; returns when that was."""
    end = time.monotonic() + DEADLINE
    while furthest_step(folder) < step and time.monotonic() < end:
        time.sleep(0.002)
    return time.monotonic()


def kill_at_a_random_moment(folder: Path, log: Path, moments: random.Random) -> None:
    before, process = furthest_step(folder), fork(lambda: train(folder), log)
    if moments.random() < 0.8:  # otherwise while it starts
        first, second = (wait_for_checkpoint(folder, before + number) for number in (1, 2))
        time.sleep(moments.uniform(0, 3 * (second - first)))
    else:
        time.sleep(moments.uniform(0, 0.3))
    os.kill(process, signal.SIGKILL)
    code = exit_code(process)
    if code != -signal.SIGKILL:
        sys.exit(f"the run ended by itself with {code}:\n{log.read_text()}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    base = Path(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
    print(f"seed of the moments: {seed}")
    unbroken = fork(lambda: train(base / "unbroken"), base / "unbroken.log")
    moments = random.Random(seed)
    for _ in range(KILLS):
        kill_at_a_random_moment(base / "killed", base / "killed.log", moments)
        print(f"killed, with checkpoint {furthest_step(base / 'killed')} begun")
    last = fork(lambda: train(base / "killed"), base / "killed.log")
    sys.exit(exit_code(unbroken) or exit_code(last))
