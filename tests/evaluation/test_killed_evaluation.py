"""An evaluation that is killed or fails loses no sample, and never mixes in samples of other settings."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.files import exclusive_lock


SCRIPT = Path(__file__).with_name("kill_evaluation.py")
LAB = Path("base") / "lab"  # in the folder of an evaluation


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, script) -> Path:
    folder = tmp_path_factory.mktemp("evaluations") / "unbroken"
    assert main(script.arguments(folder)) == 0
    return folder


def run_until_it_ends(folder: Path, processes: int) -> dict[str, Any]:
    printed, errors = (folder.with_suffix(suffix) for suffix in (".json", ".errors"))
    with printed.open("w") as out, errors.open("w") as err:
        command = [sys.executable, SCRIPT, folder, str(processes)]
        run = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            code = run.wait(timeout=400)
        finally:
            end_session(run.pid)
    assert code == 0, "".join(file.read_text() for file in (errors, folder.with_suffix(".log")) if file.exists())
    return json.loads(printed.read_text())


def end_session(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_three_times_it_ends_with_the_numbers_of_an_unbroken_one(
    tmp_path, unbroken, script, samples_in, processes
):
    killed = tmp_path / "killed"
    found = run_until_it_ends(killed, processes)
    assert found["code"] == 0
    for kill, at_least in zip(found["kills"], script.KILLED_AT, strict=True):
        assert at_least <= len(kill["files"]) < script.CHUNKS, "it was killed before its end"
        assert kill["files"].items() <= found["files"].items(), "what it had sampled was not sampled again"
        assert kill["left"] == 0, "its processes have ended with it"
        assert bool(kill["workers"]) is (processes > 1)
    samples = samples_in(killed / LAB)
    asked = [(problem, sample) for problem in range(script.PROBLEMS) for sample in range(script.SAMPLES)]
    assert [(row["problem"], row["sample"]) for row in samples] == asked
    assert samples == samples_in(unbroken / LAB)
    for file in (LAB / "figures.json", Path("results.json")):
        assert (killed / file).read_text() == (unbroken / file).read_text()
    figures = json.loads((killed / LAB / "figures.json").read_text())
    assert figures["mean"]["mean"] == sum(row["reward"] for row in samples) / len(samples)
    assert 0 < figures["mean"]["mean"] < 1
    assert len({row["text"] for row in samples}) > script.PROBLEMS, "samples of a problem differ"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def finished(tmp_path, unbroken) -> Path:
    """A copy of an evaluation to which nothing is left to do."""
    return Path(shutil.copytree(unbroken, tmp_path / "finished"))


def test_a_finished_evaluation_is_reported_again_without_its_model(finished, script, capsys, no_model_is_loaded):
    before = files_in(finished)
    (finished / LAB / "figures.json").unlink()
    (finished / "results.json").unlink()
    assert main(script.arguments(finished)) == 0
    assert files_in(finished) == before
    assert "avg@n" in capsys.readouterr().out
    assert main(script.arguments(finished, processes=2)) == 0
    assert files_in(finished) == before


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (["--seed", "1"], "seed was 0 and is 1"),
        (["--temperature", "0.5"], "temperature was 1.0 and is 0.5"),
        (["--top_p", "0.9"], "top_p was 1.0 and is 0.9"),
        (["--max_new_tokens", "20"], "max_new_tokens was 56 and is 20"),
        (["--num_samples", "32"], "num_samples was 64 and is 32"),
        (["--batch_size", "8"], "batch_size was 4 and is 8"),
        (["--num_problems", "5"], "problems was "),
        (["--instruction", "Work it out:"], "first_prompt was "),
        (["--reward", "lab_worked_answer"], "reward was 'exact_answer_reward' and is 'worked_answer_reward'"),
        (["--chat_template_kwargs", '{"style": 1}'], "chat_template_kwargs was {} and is {'style': 1}"),
    ],
)
def test_samples_of_other_settings_are_refused(finished, script, capsys, no_model_is_loaded, flags, changed):
    before = files_in(finished)
    assert main([*script.arguments(finished), *flags]) == 2
    said = capsys.readouterr().err
    assert f"{finished / LAB} has samples of other settings: " in said
    assert changed in said
    assert "--output_dir" in said
    assert files_in(finished) == before


def test_arguments_of_the_verifier_are_settings_too(finished, script, capsys, no_model_is_loaded):
    shutil.rmtree(finished)
    line = [*script.arguments(finished), "--reward", "math_accuracy_reward"]
    with_markers = [*line, "--reward_kwargs", '{"answer_markers": ["#"]}']
    with pytest.raises(pytest.fail.Exception):  # nothing is sampled yet
        main(with_markers)
    for other in (line, [*line, "--reward_kwargs", '{"answer_markers": ["="]}']):
        capsys.readouterr()
        assert main(other) == 2
        assert "reward_kwargs was {'answer_markers': ['#']} and is " in capsys.readouterr().err


def test_samples_of_other_weights_are_refused(tmp_path, finished, script, base_model, capsys, no_model_is_loaded):
    model = Path(shutil.copytree(base_model, tmp_path / "model"))
    line = script.arguments(finished)
    line[line.index("lab")] = f"base={model}"
    assert main(line) == 0, "the same weights elsewhere"
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] += torch.finfo(torch.float32).eps
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    assert main(line) == 2
    assert "has samples of other settings: weights was " in capsys.readouterr().err


def test_two_evaluations_do_not_write_into_one_folder(finished, script, capsys, no_model_is_loaded):
    with exclusive_lock(finished / "base"):
        assert main(script.arguments(finished)) == 2
    assert f"is writing into {finished / 'base'}" in capsys.readouterr().err


def test_an_error_in_one_of_several_processes_ends_the_evaluation_with_its_reason(tmp_path, capsys):
    model, output = Path(shutil.copytree(lab.base_model_path(), tmp_path / "model")), tmp_path / "eval"
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    line = ["eval", "--model", str(model), "--benchmarks", "lab", "--num_samples", "16", "--num_problems", "4"]
    before, started = set(psutil.Process().children(recursive=True)), time.monotonic()
    assert main([*line, "--batch_size", "16", "--data_parallel_size", "2", "--output_dir", str(output)]) == 2
    assert time.monotonic() - started < 200
    assert f"prefix-rft eval: The model {model} could not be loaded" in capsys.readouterr().err
    left = [child for child in psutil.Process().children(recursive=True) if child not in before]
    still = [child.cmdline() for child in psutil.wait_procs(left, timeout=5)[1]]
    assert [line for line in still if "spawn_main" in " ".join(line)] == []
    assert not list(output.rglob("samples-*.parquet"))
