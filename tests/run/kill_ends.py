"""Runs that are killed between any two writes of their end, and resumed. Started by test_kill.py.

    python kill_ends.py FOLDER (grpo | sft | stages | compare)

Prints how many places a run was killed at, and how the folders differ from those of the unbroken run.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from forking import exit_code, fork, kill_at_write, report, warm_run
from transformers import TrainerCallback

from prefix_rft_trl.cli import compare
from prefix_rft_trl.cli.launch import training_script
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison import jobs


LAST = 5
SETTINGS = {
    "lab_level": "easy", "max_steps": LAST, "measure_steps": 2, "measure_rows": 8, "measure_max_new_tokens": 8,
    "per_device_train_batch_size": 8, "logging_steps": 3, "save_strategy": "steps", "save_steps": 1,
    "save_total_limit": 1, "disable_tqdm": "true",
}  # fmt: skip
GRPO = {"num_generations": 4, "max_completion_length": 20, "num_iterations": 2}
RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
Hook = Callable[[], None]
Run = Callable[[Hook], int]  # trains in the working folder, with a hook before the last step


class AtLastStep(TrainerCallback):
    def __init__(self, hook: Hook):
        self.hook = hook

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == LAST - 1:
            self.hook()


class ForkedRun:
    """Takes the place of the process in which a comparison starts a run."""

    def __init__(self, command: list[str], stdout: Any, **others: Any):
        self.pid = fork(lambda: main(command[3:]), Path(stdout.name))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            process, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if process else None
        return self.returncode


def run_in(folder: Path, run: Run, hook: Hook) -> int:
    folder.mkdir(exist_ok=True)

    def work() -> int:
        os.chdir(folder)
        return run(hook)

    return exit_code(fork(work, folder.with_suffix(".log")))


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_each_place(base: Path, run: Run, step: int = 1) -> int:
    """Kills runs at one place each, resumes each of them, and the last one three times."""
    run_in(base / "origin", run, hook=kill_self)
    for number in itertools.count(step=step):
        folder = base / f"killed-{number}"
        shutil.copytree(base / "origin", folder)
        writes = itertools.count()
        code = run_in(folder, run, partial(kill_at_write, lambda place: next(writes) == number))  # noqa: B023
        is_last = code != -signal.SIGKILL
        codes = [run_in(folder, run, no_hook) for _ in range(3 if is_last else 1)]
        report(folder, base / "unbroken", codes)
        if is_last:
            return number // step
        shutil.rmtree(folder)


def kill_at_every_fourth_place(base: Path, run: Run) -> int:
    """Kills one run again and again, each time at a place that it has not come to before."""
    folder, seen = base / "killed", base / "seen.log"

    def is_due(place: str) -> bool:
        known = seen.read_text().splitlines() if seen.exists() else []
        with seen.open("a") as file:
            file.write("" if place in known else f"{place}\n")
        return place not in known and len(known) % 4 == 3

    kills = 0
    while run_in(folder, run, partial(kill_at_write, is_due)) in (-signal.SIGKILL, 1):
        kills += 1
    report(folder, base / "unbroken", [run_in(folder, run, no_hook) for _ in range(3)])
    return kills


def call_in_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    with get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def no_hook() -> None:
    pass


def flags(settings: dict[str, Any]) -> list[str]:
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


def one_stage(recipe: str, others: dict[str, Any]) -> Run:
    place = {"output_dir": "run", "resume_from_checkpoint": "last"}
    line = ["--config", str(RECIPES / f"{recipe}.yaml"), *flags({**SETTINGS, **others, **place})]
    trainer, train = warm_run(line)

    def run(hook: Hook) -> int:
        trainer.add_callback(AtLastStep(hook))
        return train()

    return run


def stages() -> Run:
    place = {"output_dir": "run", "resume_from_checkpoint": "last"}
    recipe = RECIPES / "sft_then_rft.yaml"
    return with_hook(["train", "--config", str(recipe), *flags({**SETTINGS, **GRPO, **place})])


def comparison() -> Run:
    compare.call_in_process = call_in_fork
    jobs.subprocess.Popen = ForkedRun
    settings = flags({**SETTINGS, **GRPO})
    recipe = str(RECIPES / "prefix_rft.yaml")
    return with_hook(["compare", recipe, "--seeds", "1", "--jobs", "1", "--output_dir", "runs", *settings])


def with_hook(line: list[str]) -> Run:
    make_trainer, write_report = training_script.make_trainer, compare.write_report

    def run(hook: Hook) -> int:
        def hook_and_write_report(*arguments: Any) -> None:
            hook()
            write_report(*arguments)

        def make(*settings: Any) -> Any:
            trainer, prompts = make_trainer(*settings)
            trainer.add_callback(AtLastStep(hook))
            return trainer, prompts

        training_script.make_trainer, compare.write_report = make, hook_and_write_report
        return main(line)

    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    base, kind = Path(sys.argv[1]).resolve(), sys.argv[2]
    makers = {
        "grpo": lambda: one_stage("prefix_rft", GRPO),
        "sft": lambda: one_stage("sft", {}),
        "stages": stages,
        "compare": comparison,
    }
    run = makers[kind]()
    if run_in(base / "unbroken", run, no_hook) != 0:
        sys.exit((base / "unbroken.log").read_text())
    kill = {"grpo": kill_at_each_place, "sft": partial(kill_at_each_place, step=2)}.get(
        kind, kill_at_every_fourth_place
    )
    print(f"killed at {kill(base, run)} places")
