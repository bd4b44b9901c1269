"""What benchmarks share: measurements in processes of their own, the seconds of each step, a table that lines up."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


RECIPES = Path(__file__).parents[1] / "recipes"


def recipe_config(recipe: dict[str, Any], **overrides: Any) -> Any:
    """The trainer's settings of a recipe, with overrides."""
    from dataclasses import fields

    from prefix_rft_trl import PrefixGRPOConfig

    known = {field.name for field in fields(PrefixGRPOConfig)}
    return PrefixGRPOConfig(**{name: value for name, value in recipe.items() if name in known} | overrides)


def lab_config(output_dir: str, **overrides: Any) -> Any:
    """The quickstart's settings of Prefix-RFT, for the exact answer as the only reward."""
    import yaml

    recipe = yaml.safe_load((RECIPES / "quickstart" / "prefix_rft.yaml").read_text(encoding="utf-8"))
    return recipe_config(recipe, **{"reward_weights": None, "output_dir": output_dir, **overrides})


def in_a_process(script: str, arguments: list[str], **environment: str) -> Any:
    """What a script prints last, as JSON. What it says on the way is shown if it fails.

    Raises:
        RuntimeError: if it ends with an error.
    """
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


TURN = "turn?"  # what a process says before each step, and then waits for a line
IN_TURNS = "--in_turns"  # the flag that makes it do so


def taking_turns(script: str, runs: list[list[str]], **environment: str) -> list[Any]:
    """What each of the runs of a script prints last, as JSON: processes that live together and step one after another.

    What else the machine does slows down neighbouring steps alike, so they can be compared in pairs.

    Raises:
        RuntimeError: if one of them ends with an error.
    """
    processes = [_Stepping([sys.executable, script, *arguments, IN_TURNS], environment) for arguments in runs]
    try:
        last = [process.until_turn() for process in processes]
        order = list(range(len(processes)))
        while TURN in last:
            for place in order:
                if last[place] == TURN:
                    last[place] = processes[place].step()
            order.reverse()  # whoever steps after another finds the caches cold
        return [json.loads(line) for line in last]
    finally:
        for process in processes:
            process.stop()


class _Stepping:
    def __init__(self, command: list[str], environment: dict[str, str]):
        self.command, self.errors = command, TemporaryFile("w+")  # noqa: SIM115 (closed by stop)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **environment},
        )

    def until_turn(self) -> str:
        """The line with which the process asks for its turn, or its last one."""
        line = ""
        for said in self.process.stdout:
            line = said.strip() or line
            if line == TURN:
                return line
        if self.process.wait():
            self.errors.seek(0)
            raise RuntimeError(f"{' '.join(self.command)} failed:\n{self.errors.read()}")
        return line

    def step(self) -> str:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.until_turn()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            stream.close()


def step_clock(in_turns: bool = False) -> Any:
    """A callback of a trainer: of each optimizer step, generation included, its `seconds` and its `cpu_seconds`.

    The latter are of this process on the processor: other programs on the machine hardly change them.
    """
    import torch
    from transformers import TrainerCallback

    class StepClock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.cpu_seconds: list[float] = []

        def on_step_begin(self, *args, **kwargs):
            if in_turns:
                print(f"\n{TURN}", flush=True)
                sys.stdin.readline()
            self.start, self.cpu_start = time.perf_counter(), time.process_time()

        def on_step_end(self, *args, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # its work is waited for, not only handed over
            self.seconds.append(time.perf_counter() - self.start)
            self.cpu_seconds.append(time.process_time() - self.cpu_start)

    return StepClock()


def lined_up(rows: list[list[str]]) -> str:
    """A table whose first row is its head: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(cells)]
        for cells in (zip(row, widths, strict=True) for row in rows)
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)
