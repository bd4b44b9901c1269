"""A run killed at random moments and resumed ends with exactly the weights of an unbroken one."""

import re
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def test_ten_kills_change_no_bit_of_the_weights(tmp_path):
    script = Path(__file__).with_name("kill_run.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=400)
    log = (tmp_path / "killed.log").read_text()
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{log}"
    assert done.stdout.count("killed, with") == 10
    assert len(set(re.findall(r"Resuming from \S+checkpoint-(\d+)", log))) > 3, "it was resumed at several steps"
    unbroken, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "killed"))
    assert unbroken.keys() == killed.keys()
    for name, weight in unbroken.items():
        assert torch.equal(weight, killed[name]), f"{name}, {done.stdout}"
