"""Faults of the input are reported in one sentence, before a model is loaded or anything is written."""

import json
import re
import shutil
from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation import engines
from prefix_rft_trl.evaluation.scores import Scores
from prefix_rft_trl.utils.intervals import Estimate


pytestmark = pytest.mark.usefixtures("no_model_is_loaded")
SOME_PROBLEM = {"problem": "What is 1 + 1?", "answer": "2"}


@pytest.fixture
def said(tmp_path, capsys):
    """The one sentence that an evaluation ends with."""

    def evaluate(*arguments: object) -> str:
        line = ["eval", *map(str, arguments)]
        if "--compare" not in line:
            line += ["--output_dir", str(tmp_path / "eval")]
        capsys.readouterr()
        try:
            code = main(line)
        except SystemExit as end:  # what argparse refuses
            code = end.code
        assert code == 2
        assert not (tmp_path / "eval").exists()
        error = capsys.readouterr().err
        assert "Traceback" not in error
        last = error.strip().splitlines()[-1]
        assert last.startswith("prefix-rft eval: ")
        return last

    return evaluate


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--benchmarks", "aime"], ["no benchmark 'aime'", "Did you mean 'aime2", "math500, minerva", "lab"]),
        (["--benchmarks", "lab,nothing_like_it"], ["no benchmark 'nothing_like_it'", "aime24, aime25, amc"]),
        (["--benchmarks", "no/such.jsonl"], ["no dataset file 'no/such.jsonl'", "no folder 'no'"]),
        (["--benchmarks", "lab,lab"], ["Two benchmarks are called lab"]),
        (["--benchmarks", ","], ["No benchmark is named"]),
        ([], ["--model and --benchmarks", "--compare"]),
        (["--benchmarks", "lab", "--num_samples", "4", "--k", "2", "8"], ["pass@8", "lab has 4", "num_samples"]),
        (["--benchmarks", "lab", "--num_samples", "4", "--k", "0"], ["pass@0"]),
        (["--benchmarks", "lab", "--num_samples", "0"], ["`num_samples` is at least 1, found 0"]),
        (["--benchmarks", "lab", "--num_problems", "0"], ["`num_problems` is at least 1, found 0"]),
        (["--benchmarks", "lab", "--max_new_tokens", "0"], ["`max_new_tokens` is at least 1, found 0"]),
        (["--benchmarks", "lab", "--max_new_tokens", "999"], ["999", "128 tokens"]),
        (["--benchmarks", "lab", "--batch_size", "0"], ["`batch_size` is at least 1, found 0"]),
        (["--benchmarks", "lab", "--num_samples", "many"], ["--num_samples", "'many'"]),
        (["--benchmarks", "lab", "--temperature", "0", "--num_samples", "4"], ["temperature 0", "4 samples", "same"]),
        (["--benchmarks", "lab", "--temperature", "-1"], ["`temperature`", "-1.0"]),
        (["--benchmarks", "lab", "--top_p", "0"], ["`top_p`", "0.0"]),
        (["--benchmarks", "lab", "--reward", "nothing"], ["Unknown reward 'nothing'", "math_accuracy_reward"]),
        (["--benchmarks", "lab", "--reward", "reasoning_gym_score"], ["'reasoning_gym_score' reads", "entry"]),
        (
            ["--benchmarks", "lab", "--reward", "math_accuracy_reward", "--reward_kwargs", '{"solution_column": "a"}'],
            ["reads the column a", "lab", "prompt, completion, solution"],
        ),
        (["--benchmarks", "lab", "--reward_kwargs", '{"workers": 1}'], ["'lab_exact_answer'", "workers"]),
        (["--benchmarks", "lab", "--vllm_kwargs", "{oops"], ["--vllm_kwargs", "JSON object", "{oops"]),
        (["--benchmarks", "lab", "--reward_kwargs", "[1]"], ["--reward_kwargs", "JSON object", "[1]"]),
        (["--benchmarks", "lab", "--backend", "vllm"], ["vLLM is not installed", "--backend transformers"]),
        (["--benchmarks", "lab", "--tensor_parallel_size", "2"], ["`tensor_parallel_size` needs vLLM"]),
        (["--benchmarks", "lab", "--data_parallel_size", "0"], ["`data_parallel_size` is at least 1, found 0"]),
        (["--benchmarks", "lab", "--nonsense", "1"], ["--nonsense"]),
    ],
)
def test_settings_that_nothing_can_be_evaluated_with(said, monkeypatch, flags, parts):
    monkeypatch.setattr(engines, "_has_vllm", lambda: False)
    error = said("--model", "lab", *flags)
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"text": "a", "answer": "b"}\n', ["problem or question or prompt", "text, answer", "--prompt_column"]),
        ('{"problem": "a", "gold": "b"}\n', ["answer or final_answer", "problem, gold", "--answer_column"]),
        ("", ["no rows"]),
        ("{}\n", ["no rows"]),
        ("Once upon a time\n", ["cannot be read", "line 1 is not JSON"]),
        ('{"problem": "a", "answer": "b"}\n{"problem":\n', ["cannot be read", "line 2 is not JSON"]),
        ('{"problem": "a", "answer": "b"}\n{"problem": null, "answer": "b"}\n', ["row 1", "problem is None"]),
        ('{"problem": 7, "answer": "b"}\n', ["row 0", "problem is 7"]),
    ],
)
def test_a_file_that_is_no_benchmark(said, tmp_path, content, parts):
    file = tmp_path / "mine.jsonl"
    file.write_text(content)
    error = said("--model", "lab", "--benchmarks", file)
    assert "mine.jsonl" in error
    assert all(part in error for part in parts), error


def test_columns_and_splits_that_the_user_names_must_be_there(said, write_jsonl):
    file = write_jsonl(SOME_PROBLEM)
    lab = ["--model", "lab", "--benchmarks", file]
    assert "no column task" in said(*lab, "--prompt_column", "task")
    assert "no column gold" in said(*lab, "--answer_column", "gold")
    assert "no split 'test'; it has: train" in said(*lab, "--dataset_split", "test")
    (file.parent / "other").mkdir()
    again = shutil.copy(file, file.parent / "other")
    assert "Two benchmarks are called mine" in said("--model", "lab", "--benchmarks", file, again)


def test_a_reward_of_ones_own_that_reads_another_column(said, tmp_path, monkeypatch, write_jsonl):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rewards_of_mine.py").write_text("def strict(completions, tests, prompts, **columns): ...")
    error = said("--model", "lab", "--benchmarks", write_jsonl(SOME_PROBLEM), "--reward", "rewards_of_mine.strict")
    assert "'rewards_of_mine.strict' reads the column tests, which mine does not have" in error


def test_a_folder_that_is_no_model(said, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    (folder / "checkpoint-5").mkdir(parents=True)
    on_lab = ["--benchmarks", "lab"]
    error = said("--model", folder, *on_lab)
    assert f"'{folder}' is no model" in error
    assert "There are models" not in error
    for name, config in (("checkpoint-5", "config.json"), ("lora", "adapter_config.json")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / config).write_text("{}")
    assert said("--model", folder, *on_lab).endswith("There are models in it: checkpoint-5, lora.")
    assert "no folder of a model" in said("--model", folder / "checkpoint-6", *on_lab)
    monkeypatch.chdir(tmp_path)
    assert "'run' holds none of that name" in said("--model", "run/checkpoint-6", *on_lab)
    assert "no folder of a model, and no name on the Hub" in said("--model", "no/such/folder", *on_lab)
    assert "is no model" in said("--model", "lab", f"other={folder}", *on_lab)


def test_two_models_of_one_name(said, tmp_path, base_model):
    shutil.copytree(base_model, tmp_path / "base")
    error = said("--model", "lab", tmp_path / "base", "--benchmarks", "lab")
    assert "Two models are called base" in error
    assert "NAME=PATH" in error


def write_adapter(folder: Path, **config) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, **config}))
    return folder


def test_an_adapter_without_its_base(said, tmp_path, base_model, monkeypatch):
    on_lab = ["--benchmarks", "lab"]
    nameless = write_adapter(tmp_path / "nameless", base_model_name_or_path=None)
    error = said("--model", nameless, *on_lab)
    assert all(part in error for part in ("does not say of which model", "--base_model")), error
    moved = write_adapter(tmp_path / "moved", base_model_name_or_path=str(tmp_path / "gone"))
    error = said("--model", moved, *on_lab)
    assert all(part in error for part in (f"of '{tmp_path / 'gone'}'", "no folder of a model", "--base_model")), error
    assert f"of '{tmp_path}'" in said("--model", moved, "--base_model", tmp_path, *on_lab)
    # Its own tokenizer is found without the base, so that nothing else would be missed before the model is loaded
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    complete = write_adapter(tmp_path / "complete", base_model_name_or_path="runs/base")
    for file in Path(base_model).glob("tokenizer*"):
        shutil.copy(file, complete)
    error = said("--model", complete, *on_lab)
    assert all(part in error for part in ("runs/base", "--base_model")), error


def evaluated(folder: Path, problems: str, indices: list[int], benchmark: str = "lab") -> Path:
    """What an evaluation leaves."""
    of_problems = [1.0 for _ in indices]
    mean = Estimate(1.0, None, 1)
    figures = Scores(len(indices), 2 - len(indices), 1, mean, [1.0], 1.0, 1.0, 0.0, 3.0, of_problems, indices, {})
    (folder / benchmark).mkdir(parents=True)
    (folder / benchmark / "figures.json").write_text(json.dumps(figures.as_json()))
    (folder / benchmark / "settings.json").write_text(json.dumps({"problems": problems}))
    return folder


def test_results_that_cannot_be_compared(said, tmp_path, capsys):
    first = evaluated(tmp_path / "runs" / "first", "abc", [0, 1])
    assert "holds no scores" in said("--compare", first, tmp_path)
    assert f"There are in: {first}." in said("--compare", first, tmp_path / "runs")
    assert "holds no scores" in said("--compare", tmp_path / "gone", first)
    others = evaluated(tmp_path / "others", "def", [0, 1])
    assert "the problems are not the same" in said("--compare", first, others)
    elsewhere = evaluated(tmp_path / "elsewhere", "abc", [0, 1], "aime24")
    assert "No benchmark was evaluated for both" in said("--compare", first, elsewhere)
    assert main(["eval", "--compare", str(first), str(evaluated(tmp_path / "same", "abc", [0, 1]))]) == 0
    assert "same - first" in capsys.readouterr().out
    partly = evaluated(tmp_path / "partly", "abc", [1])
    assert main(["eval", "--compare", str(first), str(partly)]) == 0
    assert "On lab the figures are of the 1 of 2 problems scored for both models." in capsys.readouterr().out
    assert main(["eval", "--compare", str(partly), str(evaluated(tmp_path / "not", "abc", []))]) == 0
    shown = capsys.readouterr().out
    assert "Unknown on lab: no problem is scored for both models." in shown
    assert re.search(r"^ lab +- +- +- *$", shown, re.MULTILINE), shown
