"""`prefix-rft lab`: the quickstart. Prefix-RFT and plain GRPO from the same base, side by side, with a picture."""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prefix_rft_trl.lab.picture import LABELS, draw
from prefix_rft_trl.lab.task import MAX_COMPLETION_LENGTH, MEASURE_EVERY, STEPS, sample_prompt
from prefix_rft_trl.run.folder import read_curve
from prefix_rft_trl.utils.errors import UserError

from .launch.launching import sampling_command


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="prefix-rft lab",
        description="Trains the lab's base model with Prefix-RFT and with plain GRPO: same problems, same number of "
        "rollouts. Writes a table, a picture of the curves and both models.",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of both runs (0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps of each run ({STEPS})")
    parser.add_argument("--output_dir", default="runs/lab", help="folder of what is made (runs/lab)")
    arguments = parser.parse_args(argv)
    if arguments.steps < MEASURE_EVERY:
        raise UserError(f"--steps is at least {MEASURE_EVERY}, the first measurement, found {arguments.steps}.")
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = _train_side_by_side(folder, arguments.seed, arguments.steps)
    curves = {method: read_curve(folder / method) for method in LABELS}
    picture = folder / "curves.png"
    draw(curves, picture)
    base = curves["grpo"][0]
    (folder / "results.json").write_text(
        json.dumps({"seed": arguments.seed, "steps": arguments.steps, "base": base, **results}, indent=2)
    )
    print(_table(base, results))
    print(f"\nThe curves are in {picture}, the figures in {folder / 'results.json'}.")
    for method, label in LABELS.items():
        print(f"{label:<10} is in {folder / method}")
    line = sampling_command(str(folder / "prefix_rft"), sample_prompt(random.Random(0)), MAX_COMPLETION_LENGTH)
    print(f"\nTo sample from what Prefix-RFT made:\n\n  {line}")
    return 0


def _train_side_by_side(folder: Path, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """A process a method, a line of progress each."""
    from tqdm import tqdm

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # one thread: tiny models
    processes, bars = {}, {}
    for place, (method, label) in enumerate(LABELS.items()):
        output_dir = folder / method
        output_dir.mkdir(exist_ok=True)
        (output_dir / "curve.jsonl").unlink(missing_ok=True)
        command = [sys.executable, "-m", "prefix_rft_trl.lab.experiment", "--method", method]
        command += ["--output_dir", str(output_dir), "--seed", str(seed), "--steps", str(steps)]
        with (output_dir / "log.txt").open("w") as log:
            processes[method] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        bars[method] = tqdm(total=steps, desc=f"{label:<10}", position=place, unit="step")
    try:
        while any(process.poll() is None for process in processes.values()):
            time.sleep(0.5)
            _show_progress(folder, bars)
        _show_progress(folder, bars)
    finally:
        for bar in bars.values():
            bar.close()
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait()
    for method, process in processes.items():
        if process.returncode:
            log_file = folder / method / "log.txt"
            last = log_file.read_text().strip().rpartition("\n")[2]
            raise UserError(f"{LABELS[method]} failed: {last} The whole of it is in {log_file}.")
    return {method: read_curve(folder / method)[-1] for method in LABELS}


def _show_progress(folder: Path, bars: dict[str, Any]) -> None:
    for method, bar in bars.items():
        curve = read_curve(folder / method)
        if curve:
            bar.n = curve[-1]["step"]
            bar.set_postfix_str(f"held-out accuracy {curve[-1]['accuracy']:.2f}")


def _table(base: dict[str, float], results: dict[str, dict[str, float]]) -> str:
    rows = [("model", "accuracy", "works step by step", "training")]
    rows.append(("base", f"{base['accuracy']:.2f}", f"{base['step_by_step']:.1%}", ""))
    for method in ("grpo", "prefix_rft"):
        result = results[method]
        rows.append(
            (
                LABELS[method],
                f"{result['accuracy']:.2f}",
                f"{result['step_by_step']:.1%}",
                f"{result['seconds']:.0f} s",
            )
        )
    rule = "-" * 52
    lines = [f"{model:<12}{accuracy:>10}{steps:>20}{seconds:>10}" for model, accuracy, steps, seconds in rows]
    return "\n".join(["", "Held-out problems, no prefix given:", "", lines[0], rule, *lines[1:]])
