"""Two processes train on images what one does, with prompts that have none."""

import json
import sys
from pathlib import Path

import torch


SCRIPT = Path(__file__).with_name("train_on_images.py")


def test_two_processes_are_one(tmp_path, tiny_vlm, free_port, launch, config_for_cpus):
    model, folders = tiny_vlm("grids"), [tmp_path / "one", tmp_path / "two"]
    launcher = [
        "-m", "accelerate.commands.launch", "--config_file", str(config_for_cpus("ddp", tmp_path)),
        "--main_process_port", str(free_port()),
    ]  # fmt: skip
    for folder, start in zip(folders, ([], launcher), strict=True):
        failure = launch([[sys.executable, *start, str(SCRIPT), model, str(folder)]])
        assert failure is None, failure
    one, two = (
        [
            [row for of_process in batch for row in of_process]
            for batch in zip(*(json.loads(part.read_text()) for part in sorted(folder.glob("rows-*"))), strict=True)
        ]
        for folder in folders
    )
    assert one == two
    assert sum(length > 0 for batch in one for _, length in batch) == 8
    alone, shared = (torch.load(folder / "weights.pt") for folder in folders)
    for name, weight in alone.items():
        torch.testing.assert_close(shared[name], weight, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
