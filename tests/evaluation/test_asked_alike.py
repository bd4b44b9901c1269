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


def test_a_benchmark_without_a_readable_answer_is_not_sampled(tmp_path, capsys, no_model_is_loaded):
    file = tmp_path / "prose.jsonl"
    answer = "any of the many numbers that have never been counted in one go"
    file.write_text(json.dumps({"problem": "How many?", "answer": answer}) + "\n")
    line = ["eval", "--model", "lab", "--benchmarks", str(file), "--max_new_tokens", "9", "--instruction", ""]
    assert main([*line, "--output_dir", str(tmp_path / "eval")]) == 2
    assert "math_accuracy_reward can read none of the 1 right answers of prose" in capsys.readouterr().err


def test_truncated_files_of_samples_are_sampled_again(tmp_path):
    output = tmp_path / "eval"
    assert evaluate(output, "lab", "--batch_size", "4") == 0
    before = (output / "base" / "lab" / "figures.json").read_text()
    file = sorted((output / "base" / "lab").glob("samples-*.parquet"))[1]
    for content in (b"", file.read_bytes()[:-9]):
        file.write_bytes(content)
        (output / "base" / "lab" / "figures.json").unlink()
        assert evaluate(output, "lab", "--batch_size", "4") == 0
        assert (output / "base" / "lab" / "figures.json").read_text() == before


SCRIPT = {
    "dataset_name": "lab", "instruction": None, "reward_kwargs": None, "lab_level": "easy",
    "measure_max_new_tokens": 512,
}  # fmt: skip


@pytest.mark.parametrize(("measure_steps", "budget"), [(0, None), (20, 512)])
def test_sft_has_no_budget_of_its_own_unless_it_measures(measure_steps, budget):
    script = SimpleNamespace(**SCRIPT, reward_funcs=None, measure_steps=measure_steps)
    found = RunSettings.from_recipe(script, SimpleNamespace(), ["1+1="])
    assert (found.max_new_tokens, found.instruction, found.reward) == (budget, "", None)


def test_a_format_reward_does_not_verify_answers():
    script = SimpleNamespace(**SCRIPT, reward_funcs=["think_format_reward", "accuracy_reward"], measure_steps=0)
    messages = [{"role": "user", "content": "1+1="}]
    found = RunSettings.from_recipe(script, SimpleNamespace(max_completion_length=99), [messages])
    assert (found.reward, found.max_new_tokens, found.conversational) == ("accuracy_reward", 99, True)
    assert found.instruction is None, "one prompt does not tell its instruction from its problem"
