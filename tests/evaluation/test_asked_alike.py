"""Models in one table are asked and scored alike, or the command ends before a model is loaded and says how."""

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.asked_alike import check_asked_alike, differing_runs
from prefix_rft_trl.run.settings import RunSettings


SMALL = ["--num_samples", "4", "--num_problems", "3"]


def run_of(folder: Path, level: str, **settings: object) -> str:
    """A run that has left the lab's base model as it was."""
    shutil.copytree(lab.base_model_path(level), folder)
    RunSettings(instruction="", conversational=False, lab_level=level, **settings).write(folder)
    return str(folder)


def evaluate(output: Path, *arguments: str) -> int:
    return main(["eval", "--benchmarks", "lab", *SMALL, "--output_dir", str(output), "--model", *arguments])


def test_the_base_model_of_the_lab_is_asked_what_the_run_was_trained_on(tmp_path):
    output = tmp_path / "eval"
    assert evaluate(output, "lab", run_of(tmp_path / "run", "hard")) == 0
    asked, expected = [], lab.load_dataset("test", 3, level="hard")["prompt"]
    for model in ("base", "run"):
        asked.append(json.loads((output / model / "lab" / "settings.json").read_text()))
    assert [of_model["first_prompt"] for of_model in asked] == [expected[0]] * 2
    results = json.loads((output / "results.json").read_text())
    assert results["base"] == results["run"], "they are the same model"


def test_runs_of_both_levels_are_not_put_into_one_table_by_guess(tmp_path, capsys):
    both = [run_of(tmp_path / level, level) for level in ("easy", "hard")]
    assert evaluate(tmp_path / "eval", *both) == 2
    assert "--lab_level" in capsys.readouterr().err


def test_models_of_other_budgets_are_in_no_table(tmp_path, capsys, monkeypatch):
    runs = [run_of(tmp_path / name, "easy", max_new_tokens=budget) for name, budget in (("long", 56), ("short", 9))]
    for run in runs:  # in a table of its own each
        assert evaluate(tmp_path / "eval", run) == 0
    assert main(["eval", "--compare", *(str(tmp_path / "eval" / name) for name in ("long", "short"))]) == 2
    assert "max_new_tokens 56" in capsys.readouterr().err
    assert evaluate(tmp_path / "alike", *runs, "--max_new_tokens", "9") == 0
    assert main(["eval", "--compare", *(str(tmp_path / "alike" / name) for name in ("long", "short"))]) == 0
    assert "short - long" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)  # of the same name
    assert main(["eval", "--compare", "alike/short", "eval/short"]) == 0
    assert "alike/short   eval/short   eval/short - alike/short" in capsys.readouterr().out


LAB_PROMPTS = {"instruction": "", "conversational": False}
BUDGET = {"max_new_tokens": 9}


@pytest.mark.parametrize(
    ("benchmark", "one", "other", "parts"),
    [
        ("lab", {"max_new_tokens": 56}, BUDGET, ["max_new_tokens 56 (one), 9 (other)", "such as --max_new_tokens 9,"]),
        (
            "lab", {}, {"reward": "lab_worked_answer"},
            ["reward lab_exact_answer (one), lab_worked_answer (other)", "such as --reward lab_worked_answer,"],
        ),
        (
            "mine", {"max_new_tokens": 8, "reward": "lab_exact_answer"}, {**BUDGET, "reward": "gsm8k_final_number"},
            ["math_accuracy_reward (one)", "such as --reward gsm8k_final_number --max_new_tokens 8,"],
        ),
        (
            "mine", BUDGET, {**BUDGET, "reward": "math_accuracy_reward", "reward_kwargs": {"time_limit": 2}},
            ["reward_kwargs {} (one), {'time_limit': 2} (other)", """such as --reward_kwargs '{"time_limit": 2}',"""],
        ),
        (
            "mine", {**BUDGET, "instruction": "Box it."}, BUDGET,
            ["instruction 'Box it.' (one), '' (other)", "such as --instruction '',"],
        ),
        ("mine", BUDGET, {**BUDGET, "system_prompt": "Think."}, ["system_prompt '' (one)", "--system_prompt Think.,"]),
        (
            "mine", BUDGET, {**BUDGET, "instruction": "Take your time. " * 25},
            ["such as the --instruction of other (whole in its settings file),"],
        ),
        ("mine", {**BUDGET, "chat_template_kwargs": {"a": 1}}, BUDGET, ["chat_template_kwargs", "{'a': 1} (one)"]),
    ],
)  # fmt: skip
def test_models_are_asked_and_scored_alike_or_not_at_all(
    tmp_path, capsys, write_jsonl, no_model_is_loaded, benchmark, one, other, parts
):
    file = write_jsonl({"problem": "1+1=", "answer": "2"})
    runs = {"one": LAB_PROMPTS | one, "other": LAB_PROMPTS | other}
    for name, settings in runs.items():
        shutil.copytree(lab.base_model_path(), tmp_path / name)
        RunSettings(**settings).write(tmp_path / name)
    line = ["eval", "--benchmarks", "lab" if benchmark == "lab" else str(file), "--output_dir", str(tmp_path / "eval")]
    assert main([*line, "--model", *(str(tmp_path / name) for name in runs)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"prefix-rft eval: On {benchmark} the models are not asked and scored alike: ")
    assert all(part in error for part in parts), error
    assert not any((tmp_path / "eval").glob("**/*.json"))


def test_a_benchmark_without_a_readable_answer_is_not_sampled(tmp_path, capsys, write_jsonl, no_model_is_loaded):
    answer = "any of the many numbers that have never been counted in one go"
    file = write_jsonl({"problem": "How many?", "answer": answer}, name="prose")
    line = ["eval", "--model", "lab", "--benchmarks", str(file), "--max_new_tokens", "9", "--instruction", ""]
    assert main([*line, "--output_dir", str(tmp_path / "eval")]) == 2
    assert "math_accuracy_reward can read none of the 1 right answers of prose" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        ({"problems": "a", "conversational": True}, {"problems": "b", "conversational": False}, "--no-conversational"),
        ({"problems": "a", "temperature": 1.0}, {"problems": "a", "temperature": 0.6}, "temperature 1.0 (one), 0.6"),
        ({"problems": "a"}, {"problems": "b"}, "the problems are not the same"),
        ({"reward": "score", "reward_module": "mine"}, {"reward": "score", "reward_module": "yours"}, "yours.score"),
        ({"reward_module": "a"}, {"reward": "<lambda>", "reward_module": "a"}, "(a.<lambda> cannot be loaded)"),
        ({}, {"reward_kwargs": {"api_key": "<secret>"}}, "such as the --reward_kwargs of other (what is secret"),
        # What the prompts of other models were made by does not matter where they are the same
        ({"problems": "a", "instruction": "Box it."}, {"problems": "a", "instruction": ""}, None),
        ({"backend": "vllm", "num_samples": 4}, {"backend": "transformers", "num_samples": 8}, None),
    ],
)
def test_what_has_to_be_alike(one, other, parts):
    settings = {"one": {"reward": "accuracy_reward", **one}, "other": {"reward": "accuracy_reward", **other}}
    with pytest.raises(ValueError, match=re.escape(parts)) if parts else nullcontext():
        check_asked_alike("mine", settings)
    assert differing_runs(settings) == (
        ["num_samples 4 (one), 8 (other)", "backend 'vllm' (one), 'transformers' (other)"] if "backend" in one else []
    )


MESSAGES = [{"role": "user", "content": "1+1="}]
SCRIPT = {
    "dataset_name": "lab", "instruction": None, "reward_funcs": None, "reward_kwargs": None, "lab_level": "easy",
    "measure_steps": 0, "measure_max_new_tokens": 512,
}  # fmt: skip


@pytest.mark.parametrize(
    ("script", "training", "prompt", "expected"),
    [
        ({}, {}, "1+1=", {"max_new_tokens": None, "instruction": "", "reward": None}),  # SFT has no budget of its own
        ({"measure_steps": 20}, {}, "1+1=", {"max_new_tokens": 512, "instruction": "", "reward": None}),
        # A format reward does not verify answers; one prompt does not tell its instruction from its problem
        (
            {"reward_funcs": ["think_format_reward", "accuracy_reward"]}, {"max_completion_length": 99}, MESSAGES,
            {"reward": "accuracy_reward", "max_new_tokens": 99, "conversational": True, "instruction": None},
        ),
    ],
)  # fmt: skip
def test_a_run_records_what_its_recipe_asks_for(script, training, prompt, expected):
    found = RunSettings.from_recipe(SimpleNamespace(**SCRIPT | script), SimpleNamespace(**training), [prompt])
    assert {name: getattr(found, name) for name in expected} == expected
