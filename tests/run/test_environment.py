"""The record of what a run trained with."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch

from prefix_rft_trl.run import environment
from prefix_rft_trl.run.environment import RunEnvironment
from prefix_rft_trl.run.folder import ENVIRONMENT


def arguments(device: str = "cpu", processes: int = 1, **others) -> SimpleNamespace:
    return SimpleNamespace(device=torch.device(device), world_size=processes, **others)


def test_each_start_adds_a_line_with_versions_and_hardware(tmp_path):
    for processes in (1, 2):
        RunEnvironment.current(arguments(processes=processes)).append_to(tmp_path)
    first, second = map(json.loads, (tmp_path / ENVIRONMENT).read_text().splitlines())
    assert first["versions"]["torch"] == version("torch")
    assert {"prefix_rft_trl", "python", "trl", "transformers"} < first["versions"].keys()
    assert (first["processes"], second["processes"], first["accelerator"]) == (1, 2, "")
    assert first["processor"]
    assert first["cores"] >= 1


def test_the_name_of_a_gpu_and_the_version_of_vllm_are_noted_where_they_are_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(environment, "version", lambda name: f"1.0 of {name}")
    found = RunEnvironment.current(arguments("cuda:1", use_vllm=True))
    assert found.accelerator == "GPU of cuda:1"
    assert found.versions["vllm"] == "1.0 of vllm"
    assert "vllm" not in RunEnvironment.current(arguments("cuda:1", use_vllm=False)).versions


@pytest.mark.parametrize(
    ("text", "model"), [("model name\t: A CPU\nmodel name : A CPU\n", "A CPU"), ("Features: x\n", "arm")]
)
def test_a_machine_that_names_no_model_of_its_processor_names_its_kind(monkeypatch, tmp_path, text, model):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm")
    assert RunEnvironment.current(arguments()).processor == model
