"""Runs that are killed and resumed end with exactly the weights, figures, curves and files of unbroken ones."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


def run_script(name: str, *arguments: object) -> str:
    command = [sys.executable, Path(__file__).with_name(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def test_twenty_kills_at_random_moments_change_nothing(tmp_path):
    output = run_script("kill_run.py", tmp_path)
    log = (tmp_path / "killed.log").read_text()
    assert "differences: 0" in output, f"{output}{log}"
    assert output.count("ended with -9") > 15
    assert len(set(re.findall(r"Resuming from \S+checkpoint-(\d+)", log))) > 6, "it was resumed at several steps"
    assert log.count("is finished: nothing is left to train") >= 3
    state = json.loads((tmp_path / "unbroken" / "run" / "checkpoint-80" / "trainer_state.json").read_text())
    assert min(entry.get("compute/rows", 1.0) for entry in state["log_history"]) < 1, "some rows were left out"


@pytest.mark.parametrize(("kind", "places"), [("grpo", 25), ("sft", 12), ("stages", 8), ("compare", 6)])
def test_kills_between_any_two_writes_of_the_end_change_nothing(kind, places, tmp_path):
    output = run_script("kill_ends.py", tmp_path, kind)
    assert set(re.findall(r"differences: (\d+)", output)) == {"0"}, output
    assert int(re.search(r"killed at (\d+) places", output)[1]) >= places


def test_kills_between_the_passes_of_a_step_change_nothing(tmp_path):
    output = run_script("kill_stages.py", tmp_path)
    passes = re.search(r"passes of each step: \[(.*)\]", output)[1].split(", ")
    assert len(passes) == 4, output
    assert int(passes[2]) > 2, output
    assert re.findall(r"ended with \[(.*)\]", output) == ["-9", "-9", "-9, -9"]
    assert re.findall(r"differences: (\d+)", output) == ["0"] * 3, output
