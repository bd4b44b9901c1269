"""An evaluation that is killed or fails loses no sample, and never mixes in samples of other settings."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.files import exclusive_lock


LAB = Path("base") / "lab"  # in the folder of an evaluation
PROBLEMS, SAMPLES, BATCH = 6, 64, 4
CHUNKS = PROBLEMS * SAMPLES // BATCH
KILLED_AT = (0, CHUNKS // 6, CHUNKS // 3)  # files of samples: when it has begun, and twice in the middle
DEADLINE = 100  # seconds for an evaluation to come so far, and for its processes to end
IMPORTED = [
    "prefix_rft_trl.cli.eval",
    "prefix_rft_trl.evaluation.samplers",
    "transformers.models.qwen2.modeling_qwen2",
]


def arguments(output_dir: Path, processes: int = 1) -> list[str]:
    return [
        "eval", "--model", "lab", "--benchmarks", "lab", "--backend", "transformers",
        "--num_problems", str(PROBLEMS), "--num_samples", str(SAMPLES), "--batch_size", str(BATCH),
        "--data_parallel_size", str(processes), "--output_dir", str(output_dir),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluations") / "unbroken"
    assert main(arguments(folder)) == 0
    return folder


def written(output_dir: Path) -> dict[str, int]:
    """When each file of samples was written."""
    return {file.name: file.stat().st_mtime_ns for file in (output_dir / LAB).glob("samples-*.parquet")}


@pytest.fixture
def kill_at() -> Callable[[Path, int, int], list[psutil.Process]]:
    """Kills an evaluation as soon as it has so many files of samples; returns the workers that it had."""
    forks = get_context("forkserver")  # forked from a process which has imported everything: a start takes no time
    forks.set_forkserver_preload(IMPORTED)

    def kill(output_dir: Path, processes: int, number: int) -> list[psutil.Process]:
        process, end = forks.Process(target=main, args=[arguments(output_dir, processes)]), time.monotonic() + DEADLINE
        process.start()
        try:
            workers: list[psutil.Process] = []
            while time.monotonic() < end:
                workers = psutil.Process(process.pid).children(recursive=True)
                has_begun = (output_dir / LAB).exists() and bool(workers) is (processes > 1)
                if has_begun and len(written(output_dir)) >= number:
                    break
                time.sleep(0.002)
            else:
                pytest.fail("the evaluation has not come so far")
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL, "it was killed before its end"
        return workers

    return kill


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_three_times_it_ends_with_the_numbers_of_an_unbroken_one(
    tmp_path, unbroken, samples_in, kill_at, processes
):
    killed, before = tmp_path / "killed", {}
    for number in KILLED_AT:
        _, left = psutil.wait_procs(kill_at(killed, processes, number), timeout=DEADLINE)
        for worker in left:
            worker.kill()
        assert not left, "its processes have ended with it"
        assert before.items() <= written(killed).items(), "what it had sampled was not sampled again"
        before = written(killed)
        assert number <= len(before) < CHUNKS
    (killed / LAB / ".samples-000000.parquet.partial-0a1b2c3d").mkdir()  # as one killed while it writes leaves it
    assert main(arguments(killed, processes)) == 0
    assert not list(killed.rglob(".*"))
    assert before.items() <= written(killed).items()
    samples = samples_in(killed / LAB)
    asked = [(problem, sample) for problem in range(PROBLEMS) for sample in range(SAMPLES)]
    assert [(row["problem"], row["sample"]) for row in samples] == asked
    assert samples == samples_in(unbroken / LAB)
    for file in (LAB / "figures.json", Path("results.json")):
        assert (killed / file).read_text() == (unbroken / file).read_text()
    figures = json.loads((killed / LAB / "figures.json").read_text())
    assert figures["mean"]["mean"] == sum(row["reward"] for row in samples) / len(samples)
    assert 0 < figures["mean"]["mean"] < 1
    assert len({row["text"] for row in samples}) > PROBLEMS, "samples of a problem differ"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def finished(tmp_path, unbroken) -> Path:
    """A copy of an evaluation to which nothing is left to do."""
    return Path(shutil.copytree(unbroken, tmp_path / "finished"))


def test_a_finished_evaluation_is_reported_again_without_its_model(finished, capsys, no_model_is_loaded):
    before = files_in(finished)
    (finished / LAB / "figures.json").unlink()
    (finished / "results.json").unlink()
    assert main(arguments(finished)) == 0
    assert files_in(finished) == before
    assert "avg@n" in capsys.readouterr().out
    assert main(arguments(finished, processes=2)) == 0
    assert files_in(finished) == before


def test_truncated_files_of_samples_are_sampled_again(finished):
    before = files_in(finished / LAB)
    file = sorted((finished / LAB).glob("samples-*.parquet"))[1]
    for content in (b"", file.read_bytes()[:-9]):
        file.write_bytes(content)
        (finished / LAB / "figures.json").unlink()
        assert main(arguments(finished)) == 0
        assert files_in(finished / LAB) == before


def test_a_damaged_portion_is_sampled_again_and_the_others_are_not(finished):
    before = files_in(finished / LAB)
    files = sorted((finished / LAB).glob("samples-*.parquet"))
    text, content = pq.read_table(files[1])["text"][0].as_py(), bytearray(files[1].read_bytes())
    content[content.index(text[:4].encode())] ^= 1  # one bit of an answer
    files[1].write_bytes(content)
    files[3].write_bytes(files[2].read_bytes())  # whole, but with other samples
    kept = {name: time for name, time in written(finished).items() if name not in (files[1].name, files[3].name)}
    assert main(arguments(finished)) == 0
    assert files_in(finished / LAB) == before
    assert {name: time for name, time in written(finished).items() if name in kept} == kept


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
def test_samples_of_other_settings_are_refused(finished, capsys, no_model_is_loaded, flags, changed):
    before = files_in(finished)
    assert main([*arguments(finished), *flags]) == 2
    said = capsys.readouterr().err
    assert f"{finished / LAB} has samples of other settings: " in said
    assert changed in said
    assert "--output_dir" in said
    assert files_in(finished) == before


def test_arguments_of_the_verifier_are_settings_too(finished, capsys, no_model_is_loaded):
    shutil.rmtree(finished)
    line = [*arguments(finished), "--reward", "math_accuracy_reward"]
    with_markers = [*line, "--reward_kwargs", '{"answer_markers": ["#"]}']
    with pytest.raises(pytest.fail.Exception):  # nothing is sampled yet
        main(with_markers)
    for other in (line, [*line, "--reward_kwargs", '{"answer_markers": ["="]}']):
        capsys.readouterr()
        assert main(other) == 2
        assert "reward_kwargs was {'answer_markers': ['#']} and is " in capsys.readouterr().err


def test_samples_of_other_weights_are_refused(tmp_path, finished, base_model, capsys, no_model_is_loaded):
    model = Path(shutil.copytree(base_model, tmp_path / "model"))
    line = arguments(finished)
    line[line.index("lab")] = f"base={model}"
    assert main(line) == 0, "the same weights elsewhere"
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] += torch.finfo(torch.float32).eps
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    assert main(line) == 2
    assert "has samples of other settings: weights was " in capsys.readouterr().err


def test_two_evaluations_do_not_write_into_one_folder(finished, capsys, no_model_is_loaded):
    with exclusive_lock(finished / "base"):
        assert main(arguments(finished)) == 2
    assert f"is writing into {finished / 'base'}" in capsys.readouterr().err


def test_an_error_in_one_of_several_processes_ends_the_evaluation_with_its_reason(tmp_path, capsys):
    model, output = Path(shutil.copytree(lab.base_model_path(), tmp_path / "model")), tmp_path / "eval"
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))
    line = ["eval", "--model", str(model), "--benchmarks", "lab", "--num_samples", "16", "--num_problems", "4"]
    before, started = set(psutil.Process().children(recursive=True)), time.monotonic()
    assert main([*line, "--batch_size", "16", "--data_parallel_size", "2", "--output_dir", str(output)]) == 2
    assert time.monotonic() - started < 200
    assert f"prefix-rft eval: The model {model} could not be loaded" in capsys.readouterr().err
    left = [child for child in psutil.Process().children(recursive=True) if child not in before]
    still = [child.cmdline() for child in psutil.wait_procs(left, timeout=5)[1]]
    assert [line for line in still if "spawn_main" in " ".join(line)] == []
    assert not list(output.rglob("samples-*.parquet"))
