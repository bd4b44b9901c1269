"""Models in one table are asked the same, or the table says in what they differ."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
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


def test_differing_settings_stand_under_the_table(tmp_path, capsys):
    runs = [run_of(tmp_path / name, "easy", max_new_tokens=budget) for name, budget in (("long", 56), ("short", 9))]
    assert evaluate(tmp_path / "eval", *runs) == 0
    assert "Not asked alike on lab: max_new_tokens (56, 9)." in capsys.readouterr().out
    assert main(["eval", "--compare", *(str(tmp_path / "eval" / name) for name in ("long", "short"))]) == 0
    assert "Not asked alike on lab: max_new_tokens (56, 9)." in capsys.readouterr().out
    assert evaluate(tmp_path / "alike", *runs, "--max_new_tokens", "9") == 0
    assert "Not asked alike" not in capsys.readouterr().out


def test_a_benchmark_without_a_readable_answer_is_not_sampled(tmp_path, capsys, write_jsonl, no_model_is_loaded):
    answer = "any of the many numbers that have never been counted in one go"
    file = write_jsonl({"problem": "How many?", "answer": answer}, name="prose")
    line = ["eval", "--model", "lab", "--benchmarks", str(file), "--max_new_tokens", "9", "--instruction", ""]
    assert main([*line, "--output_dir", str(tmp_path / "eval")]) == 2
    assert "math_accuracy_reward can read none of the 1 right answers of prose" in capsys.readouterr().err


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
