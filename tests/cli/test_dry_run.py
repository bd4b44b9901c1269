"""`prefix-rft train --dry_run`, against what the training then does."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import yaml
from transformers import PreTrainedModel

from prefix_rft_trl import lab
from prefix_rft_trl.cli.launch.dry_run_page import settings_by_origin
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.held_out import draw_held_out, prompt_key
from prefix_rft_trl.lab.agent.calculator import calculate
from prefix_rft_trl.models.sources import load_tokenizer
from prefix_rft_trl.run import read_curve
from prefix_rft_trl.run.folder import STATE
from prefix_rft_trl.utils.recipe_files import FOLDER


SMALL = {"lab_level": "easy", "max_steps": 1, "num_generations": 4, "per_device_train_batch_size": 8}
SMALL |= {"max_completion_length": 24, "measure_rows": 8, "logging_steps": 1, "output_dir": "run"}
SFT = {"trainer": "sft", "loss_type": "nll"}


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def dry(lab_recipe, capsys, monkeypatch) -> Callable[..., str]:
    """What a dry run of a small recipe prints: it loads no weights, writes nothing and fits 80 columns."""

    def run(*flags: str, code: int = 0, **settings: object) -> str:
        recipe = lab_recipe(**{**SMALL, **settings})
        before = sorted(Path().rglob("*"))
        with monkeypatch.context() as patch:
            patch.setattr(PreTrainedModel, "from_pretrained", None)
            assert main(["train", "--config", str(recipe), *flags, "--dry_run"]) == code
        assert sorted(Path().rglob("*")) == before
        printed = capsys.readouterr()
        assert [line for line in printed.out.splitlines() if len(line) > 80] == []
        return printed.out + printed.err

    return run


def quoted(page: str, title: str) -> str:
    """The text under a line of the page."""
    lines = re.search(rf"^  {title}.*\n((?:    \|.*\n)+)", page, re.MULTILINE)[1].splitlines()
    return "\n".join(line.removeprefix("    |").removeprefix(" ") for line in lines)


def test_the_first_rollout_and_the_files_are_those_of_the_training(dry, lab_recipe):
    settings = {
        "log_completions": True,
        "save_strategy": "steps",
        "save_steps": 1,
        "prefix_ratio_schedule": "constant",
    }
    page = dry(**settings)
    assert main(["train", "--config", str(lab_recipe(**SMALL, **settings))]) == 0
    (table,) = Path("run/completions").glob("*.parquet")
    first = next(row for row in parquet.read_table(table).to_pylist() if row["hybrid"])
    assert quoted(page, "prompt") == first["prompt"]
    assert quoted(page, "prefix") == first["completion"][: first["prefix_characters"]]
    assert f"at most {24 - first['prefix_length']} tokens" in page
    named = page.partition("Files, in run\n")[2]
    of_model = ("config.json", "model.safetensors", "token", "training_args.bin")
    written = [path.name for path in Path("run").iterdir() if not any(part in path.name for part in of_model)]
    for name in written:
        assert re.sub(r"-\d+$", "-STEP", name) in named, name


@pytest.mark.parametrize(("hybrids", "parts"), [(8, ("prefix", "rest of the demonstration")), (0, ())])
def test_the_first_rollout_of_an_agent_has_tools_in_its_prompt_and_results_behind_its_calls(
    dry, tmp_path, hybrids, parts
):
    folder = tmp_path / "model"
    shutil.copytree(lab.base_model_path("agent"), folder)
    template = folder / "chat_template.jinja"
    described = "{%- for tool in tools or [] -%}<user>{{- tool.function.name -}}<eos>{%- endfor -%}"
    template.write_text(described + template.read_text())
    agent = yaml.safe_load((FOLDER / "lab-agent/grpo.yaml").read_text())
    method = {"prefix_ratio_schedule": "constant", "prefix_ratio_high": 0.95, "prefix_ratio_low": 0.95}
    method |= {"output_dir": "run", "num_prefix_generations": hybrids, "model_name_or_path": str(folder)}
    page = dry(**agent | method)
    tokenizer = load_tokenizer(str(folder))
    render = partial(tokenizer.apply_chat_template, tools=[calculate], tokenize=False)
    prompt, *parts = (quoted(page, part).replace("\n", "") for part in ("prompt", *parts))
    assert prompt.startswith("<user>calculate<eos>")
    assert f"prompt ({len(tokenizer(prompt)['input_ids'])} tokens)" in page
    assert "A prompt has 13 tokens on average" in page
    rows = lab.load_dataset("train", level="agent")
    whole = {render(row["prompt"], add_generation_prompt=True): row["completion"] for row in rows}
    if parts:
        assert "".join((prompt, *parts)) in [render(row["prompt"] + whole[prompt]) for row in rows]
        assert f"<eos><tool>{whole[prompt][1]['content']}<eos>" in parts[0]


def test_the_first_hint_is_that_of_the_training(dry, lab_recipe):
    settings = {"prefix_placement": "prompt", "prefix_hint_template": "{hint}{prompt}", "prefix_prompt_share": 0.5}
    settings |= {"prefix_top_entropy_quantile": None, "log_completions": True}
    page = dry(**settings)
    assert main(["train", "--config", str(lab_recipe(**SMALL, **settings))]) == 0
    (table,) = Path("run/completions").glob("*.parquet")
    first = next(row for row in parquet.read_table(table).to_pylist() if row["hybrid"])
    assert quoted(page.partition("First hybrid rollout")[2], "prompt") == first["prompt"]
    assert re.search(rf"at most 24 tokens; the prompt has a hint of\s+{first['prefix_length']} of", page)
    assert "Of the rollouts of 0.5 of the prompts, 1 has a hint" in " ".join(page.split())


@pytest.mark.parametrize(
    "settings",
    [
        {"num_train_epochs": 2, "gradient_accumulation_steps": 3, "prefix_ratio_distribution": "binomial"},
        {"num_train_epochs": 1, "num_iterations": 2, "steps_per_generation": 2, "num_prefix_generations": 0},
        {"num_train_epochs": 1.5, "stages": {"a": {**SFT, "per_device_train_batch_size": 4}, "b": {}}},
    ],
    ids=str,
)
def test_the_steps_of_epochs_are_those_of_the_training(dry, lab_recipe, settings):
    rows = [{"prompt": f"1+{n}=", "completion": f"1+{n}={n + 1};#{n + 1}", "solution": str(n + 1)} for n in range(9)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"dataset_name": "rows.jsonl", "max_steps": -1, "measure_steps": 0, **settings}
    page = dry(**settings)
    assert "There is none in the first step" not in page
    assert main(["train", "--config", str(lab_recipe(**{**SMALL, **settings}))]) == 0
    states = [json.loads(file.read_text()) for file in sorted(Path("run").rglob(STATE))]
    assert re.findall(r"^  (\d+) steps?:", page, re.MULTILINE) == [str(state["max_steps"]) for state in states]


def test_each_stage_is_described_and_the_second_needs_no_model_of_the_first(dry):
    page = dry(
        stages={"first": {**SFT, "max_steps": 3}, "second": {"learning_rate": 1e-5}},
        model_changes={"folder": "changed", "config": {"max_position_embeddings": 200}},
    )
    first, second = page.split("Stage 2 of 2: second")
    assert "Stage 1 of 2: first" in first
    assert "A step trains on 8 demonstrations" in first
    assert "3 steps" in first
    assert re.search(r"With\s+demonstrations\s+of\s+\d+\s+tokens", first), "they were read from the data"
    assert "Assumed" not in first
    assert "Assumed" in second
    assert "Files, in run/first" in first
    assert "2 prompts x 4 rollouts = 8 rollouts" in second
    assert "changed" in first.partition("Files")[2]


def test_a_gpu_that_is_missing_here_refuses_at_the_end_of_the_page(dry):
    page = dry("--num_processes", "8", code=2, use_cpu=False, bf16=True, use_vllm=True, gradient_accumulation_steps=2)
    assert "= 128 rollouts (8 processes x 2 passes x 8 rows)" in page.replace("\n ", "")
    assert "estimated for an H100, as this machine has no GPU" in page
    assert "PyTorch finds none" in page.splitlines()[-1]


def test_what_a_training_refuses_a_dry_run_refuses_in_the_same_words(dry, lab_recipe, capsys):
    Path("run").mkdir()
    Path("run/run_settings.json").write_text("{}")
    page = dry(code=2)
    assert main(["train", "--config", str(lab_recipe(**SMALL))]) == 2
    assert page.splitlines()[-1] == capsys.readouterr().err.splitlines()[-1]
    assert "The run that is there is removed first" in dry("--overwrite")


@pytest.fixture
def rows_without_answers() -> dict:
    """Settings of a dataset that lacks some answers, among them one of the 10 that are held out."""
    rows = [{"prompt": f"{n}+1=", "completion": f"{n}+1={n + 1};#{n + 1}", "solution": str(n + 1)} for n in range(40)]
    held_out = draw_held_out([prompt_key(row["prompt"]) for row in rows], 0.25, 0)
    for places in (sorted(held_out)[:2], sorted({*range(40)} - held_out)[:3]):
        for place, nothing in zip(places, ("", None, "n/a"), strict=False):
            rows[place]["solution"] = nothing
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward = {"reward_funcs": ["math_accuracy_reward"], "reward_kwargs": {"math_accuracy_reward": {"num_workers": 1}}}
    return {"dataset_name": "rows.jsonl", "test_share": 0.25, "measure_rows": None, "measure_steps": 1, **reward}


def test_rows_without_an_answer_for_the_reward_are_counted(dry, lab_recipe, rows_without_answers, caplog):
    page = " ".join(dry(**rows_without_answers).split())
    counted = "3 of 30 rows to train on have no answer for math_accuracy_reward: they cost rollouts and teach nothing."
    assert counted in page
    assert "measured on 10 held-out problems (test_share 0.25)" in page
    assert "2 of them have no answer and are left out" in page
    assert main(["train", "--config", str(lab_recipe(**{**SMALL, **rows_without_answers}))]) == 0
    warnings = [record.getMessage() for record in caplog.records if "no answer" in record.getMessage()]
    assert len(warnings) == 1
    assert f"{counted} 2 of 10 held-out problems have no answer." in warnings[0]
    assert not any("kwargs" in record.getMessage() for record in caplog.records)
    assert read_curve("run")[-1]["problems"] == 8


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"dataset_test_file": "held.jsonl"}, "1 held-out problems (dataset_test_file held.jsonl)"),
        ({"dataset_train_split": "train[:36]", "measure_split": "train[36:]"}, "4 problems of split train[36:]"),
    ],
    ids=str,
)
def test_held_out_problems_are_named_by_the_setting_that_holds_them_out(dry, rows_without_answers, settings, named):
    Path("held.jsonl").write_text(json.dumps({"prompt": "90+9=", "solution": "99"}))
    page = " ".join(dry(**{**rows_without_answers, "test_share": 0, **settings}).split())
    assert f"Accuracy is measured on {named}" in page


def test_long_texts_are_cut_in_their_middle_and_lines_are_kept(dry):
    row = {"prompt": "1+1=\n" + "1234567890 " * 400, "completion": "1+1=2;" * 9 + "#2", "solution": "2"}
    Path("rows.jsonl").write_text((json.dumps(row) + "\n") * 4)
    longer = {"folder": "changed", "config": {"max_position_embeddings": 8192}}
    page = dry(dataset_name="rows.jsonl", measure_steps=0, max_completion_length=64, model_changes=longer)
    assert re.search(r"\| \[\.\.\. [\d,]+ characters \.\.\.\]", page)
    assert len(quoted(page, "prompt")) < 1500


def test_settings_are_listed_by_where_they_come_from():
    recipe = Recipe(
        {"seed": 1, "beta": 0.1}, ["--seed", "2", "--reward_funcs", "a", "b", "--use_vllm"], Path("a.yaml")
    )
    values = {"seed": 2, "beta": 0.1, "learning_rate": 1e-6, "max_steps": 5, "logging_steps": 1}
    assert settings_by_origin(recipe, values) == {
        "Settings of the command line": {"seed": "2", "reward_funcs": "a b", "use_vllm": "true"},
        "Settings of a.yaml": {"beta": 0.1},
        "Defaults": {"max_steps": 5, "learning_rate": 1e-6},
    }
