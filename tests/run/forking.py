"""Runs as forked processes, which start at once since everything is imported; killing them, and comparing folders."""

import itertools
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Trainer

from prefix_rft_trl.cli.launch import training_script
from prefix_rft_trl.cli.launch.recipe import Recipe


OF_TIME = {"seconds", "step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}
OF_TIME |= {"written", "sizes", "checksums", "environments"}  # those of files that hold times, and when a run started
WRITING = os.O_WRONLY | os.O_RDWR
LOGS = (".log", ".lock", "log.txt")


def fork(work: Callable[[], Any], log: Path) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        code = work() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def warm_run(line: list[str]) -> tuple[Trainer, Callable[[], int]]:
    """Makes the trainer of a command line of one stage; returns it, and what a fork calls to train in its folder."""
    recipe = Recipe.read(line)
    settings = recipe.parse()
    made = training_script.make_trainer(*settings)
    training_script.make_trainer = lambda *others: made
    return made[0], lambda: training_script.train(SimpleNamespace(parse=lambda: settings))


def kill_at_write(on_write: Callable[[str], bool]) -> None:
    """Kills this process before the write below the working folder for which `on_write`, given its place, says so.

    Of the files that are removed only every fourth counts. The file is begun and cut off in every second process.
    """
    top, removals = f"{os.getcwd()}/", itertools.count()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        place = _written(event, arguments)
        if place is None or not os.path.abspath(place).startswith(top) or place.endswith(LOGS):
            return
        if event in ("os.remove", "os.rmdir") and next(removals) % 4:
            return
        name = re.sub(r"(^|/)\.[^/]*", r"\1.", os.path.abspath(place).removeprefix(top))  # of a temporary file, chance
        if on_write(f"{event} {name}"):
            if event == "open" and os.getpid() % 2:
                cut_off = os.open(place, arguments[2])
                os.write(cut_off, b'{"step": ')
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _written(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The file that an event of Python's audit is about to change."""
    if event == "open" and isinstance(arguments[0], str | os.PathLike) and arguments[2] & WRITING:
        return os.fspath(arguments[0])
    if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove") and isinstance(arguments[0], str | os.PathLike):
        return os.fspath(arguments[0])
    return None


def report(found: Path, expected: Path, codes: list[int]) -> None:
    """Prints what is not as it should be: the exit codes of runs, and what the folder of the last one holds."""
    lines = [*(f"exit code {code}" for code in codes if code), *differences(found, expected)]
    print(f"{found.name} differences: {len(lines)}", *lines, sep="\n  ", flush=True)


def differences(found: Path, expected: Path) -> Iterator[str]:
    """What a finished run's folder has that differs from another's, apart from times and logs."""
    names, expected_names = _names(found), _names(expected)
    if names != expected_names:
        yield f"files: {sorted(names ^ expected_names)}"
    for name in names & expected_names:
        one, other = found / name, expected / name
        if name.endswith(".safetensors"):
            weights, expected_weights = load_file(one), load_file(other)
            if weights.keys() != expected_weights.keys():
                yield f"{name}: other weights"
            if not all(torch.equal(weights[key], expected_weights[key]) for key in weights):
                yield f"{name}: values of weights"
        elif name.endswith("curve.jsonl"):
            lines = [[json.loads(line) for line in file.read_text().splitlines()] for file in (one, other)]
            yield from _unequal(name, *lines)
            seconds = [line["seconds"] for line in lines[0]]
            if seconds != sorted(set(seconds)):
                yield f"{name}: seconds {seconds}"
        elif name.endswith((".json", "README.md")):
            yield from _unequal(name, *(_content(file) for file in (one, other)))


def _names(folder: Path) -> set[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in paths if not path.endswith(LOGS) and "/." not in path}


def _content(file: Path) -> Any:
    return json.loads(file.read_text()) if file.suffix == ".json" else file.read_text()


def _unequal(place: str, found: Any, expected: Any) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in (found.keys() | expected.keys()) - OF_TIME:
            yield from _unequal(f"{place}: {name}", found.get(name), expected.get(name))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            yield from _unequal(f"{place}: {number}", one, other)
    elif repr(found) != repr(expected):  # in which NaN is NaN
        yield f"{place}: {found} instead of {expected}"
