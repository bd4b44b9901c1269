"""`prefix-rft init`: what it finds in a dataset, and the recipes that it writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from prefix_rft_trl.cli.init import plain_name
from prefix_rft_trl.cli.launch.arguments import check_stage, is_setting
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.cli.starting_recipes import LongestTexts, Setup, check_recipes, recipe_texts
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION, MARK_INSTRUCTION


PROBLEMS = [f"How much is {number} + 1?" for number in range(12)]
MARKED = [f"{number} + 1 = <<{number}+1={number + 1}>>{number + 1}\n#### {number + 1}" for number in range(12)]
BOXED = [f"It is \\boxed{{{number + 1}}}." for number in range(12)]
ANSWERS = [str(number + 1) for number in range(12)]
RECIPES = ["prefix_rft", "grpo", "sft", "sft_then_rft"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def chat_model(text_model, tmp_path) -> str:
    """An untrained model of bytes with a chat template."""
    folder = tmp_path / "model"
    shutil.copytree(text_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_rows(**columns: list[Any]) -> None:
    """A folder `data` with the rows to train on in one file, and the last two in another."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    Path("data").mkdir()
    for name, part in (("train", rows[:-2]), ("test", rows[-2:])):
        Path("data", f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def conversation(roles: tuple[str, str], keys: tuple[str, str]) -> list[list[dict[str, str]]]:
    role, content = keys
    return [
        [{role: roles[0], content: problem}, {role: roles[1], content: solution}]
        for problem, solution in zip(PROBLEMS, BOXED, strict=True)
    ]


READ_BY_FORM = {"conversational": None, "instruction": None}
FORMS = {
    "GSM8K": (
        {"question": PROBLEMS, "answer": MARKED},
        {"prompt_column": "question", "demonstration_column": "answer", "answer_column": "answer",
         "instruction": MARK_INSTRUCTION, "conversational": True,
         "reward_kwargs": {"math_accuracy_reward": {"solution_column": "answer"}}},
    ),
    "a problem with a solution and an answer": (
        {"problem": PROBLEMS, "solution": BOXED, "answer": ANSWERS},
        {"prompt_column": "problem", "demonstration_column": "solution", "answer_column": "answer",
         "instruction": BOX_INSTRUCTION, "conversational": True},
    ),
    "prompt, completion and solution": (
        {"prompt": PROBLEMS, "completion": BOXED, "solution": ANSWERS},
        {"prompt_column": None, "demonstration_column": None, "answer_column": None, "reward_kwargs": None},
    ),
    "prompts that say how to answer": (
        {"prompt": [f"{problem}\nBox it: \\boxed{{}}" for problem in PROBLEMS], "completion": BOXED,
         "solution": ANSWERS},
        {"instruction": None, "conversational": True},
    ),
    "messages": ({"messages": conversation(("user", "assistant"), ("role", "content"))}, READ_BY_FORM),
    "ShareGPT": ({"conversations": conversation(("human", "gpt"), ("from", "value"))}, READ_BY_FORM),
    "Alpaca with a context": (
        {"instruction": ["Add."] * 12, "input": PROBLEMS, "output": BOXED},
        {"prompt_column": None, "instruction": BOX_INSTRUCTION, "conversational": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_columns_instruction_and_reward_are_those_of_the_rows(form, chat_model, capsys):
    columns, expected = FORMS[form]
    write_rows(**columns)
    assert main(["init", "data", "--model", chat_model, "--output_dir", "mine"]) == 0
    base = yaml.safe_load(Path("mine/base.yaml").read_text())
    assert {name: base.get(name) for name in expected} == expected
    assert base["reward_funcs"] == ["math_accuracy_reward"]
    said = capsys.readouterr().out
    assert "finds 10 of 10 demonstrations right" in said
    assert max(map(len, said.splitlines())) <= 80
    first = said.partition("Row 0, as the model will see it")[2].partition("Row 1")[0]
    shown = "".join(line.strip() for line in first.splitlines())
    assert "<user>" in shown
    assert f"{PROBLEMS[0]}" in shown
    assert shown.endswith("answer1")
    assert (base.get("instruction") or "<assistant>").replace(" ", "") in shown.replace(" ", "")


def test_the_recipes_can_be_trained_and_share_the_base(chat_model):
    write_rows(question=PROBLEMS, answer=MARKED)
    flags = ["--max_steps", "2", "--seed", "3", "--output_dir", "mine"]
    assert main(["init", "data", "--model", chat_model, *flags]) == 0
    for name in RECIPES:
        assert yaml.safe_load(Path(f"mine/{name}.yaml").read_text())["base"] == "base.yaml"
        for stage in Recipe.read(["--config", f"mine/{name}.yaml"]).trainings(is_setting):
            settings = check_stage(stage)
            assert (settings.max_steps, settings.seed, settings.measure_steps) == (2, 3, 1)
            assert settings.measure_split == "test"
    folders = [load_recipe(f"mine/{name}.yaml")["output_dir"] for name in RECIPES]
    assert folders == ["runs/mine-prefix-rft", "runs/mine-grpo", "runs/mine-sft", "runs/mine-sft-then-rft"]
    comparison = yaml.safe_load(Path("mine/comparison.yaml").read_text())
    assert sorted(comparison["recipes"]) == sorted(comparison["labels"]) == sorted(RECIPES)
    assert main(["train", "--config", "mine/prefix_rft.yaml"]) == 0
    assert len(Path("runs/mine-prefix-rft/curve.jsonl").read_text().splitlines()) == 3


def setup(**changes: Any) -> Setup:
    facts = {
        "command": "prefix-rft init", "name": "mine", "data": {}, "reward": {}, "rows": 270, "held_out": 30,
        "longest": LongestTexts(100, 200, 2048), "parameters": 135_000_000, "has_gpu": True, "given": {},
    }  # fmt: skip
    return Setup(**{**facts, **changes})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {"max_completion_length": 256, "max_steps": 50, "gradient_accumulation_steps": 32, "bf16": True}),
        ({"rows": 7000}, {"max_steps": 500}),
        ({"rows": 7000, "has_gpu": False}, {"max_steps": 100, "gradient_accumulation_steps": 8, "use_cpu": True}),
        ({"rows": 3}, {"gradient_accumulation_steps": 2, "max_steps": 50}),
        ({"longest": LongestTexts(100, 200, 256)}, {"max_completion_length": 156}),
        ({"longest": LongestTexts(100, 200, None)}, {"max_completion_length": 256, "measure_max_new_tokens": 256}),
        ({"held_out": 900}, {"measure_rows": 256}),
        ({"parameters": 7 * 10**9}, {"learning_rate": 1e-6}),
        ({"parameters": None}, {"learning_rate": 1e-6}),
        ({"given": {"max_completion_length": 64}}, {"max_completion_length": 64, "measure_max_new_tokens": 64}),
        (
            {"given": {"num_generations": 4, "temperature": 0.7}},
            {"per_device_train_batch_size": 4, "temperature": 0.7},
        ),
        ({"given": {"learning_rate": 1e-3}}, {"learning_rate": 1e-3}),
    ],
)
def test_settings_follow_from_the_data_the_model_and_the_machine(changes, found):
    base = yaml.safe_load(recipe_texts(setup(**changes))["base.yaml"])
    assert {name: base.get(name) for name in found} == found


@pytest.mark.parametrize("has_gpu", [True, False])
def test_settings_for_either_machine_are_accepted(has_gpu):
    check_recipes(recipe_texts(setup(has_gpu=has_gpu, data={"model_name_or_path": "lab", "dataset_name": "lab"})))


def test_a_setting_of_the_command_line_is_not_taken_back_by_a_recipe():
    texts = recipe_texts(setup(given={"num_prefix_generations": 2}))
    assert yaml.safe_load(texts["prefix_rft.yaml"])["num_prefix_generations"] == 2
    assert yaml.safe_load(texts["grpo.yaml"])["num_prefix_generations"] == 0


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("data/my.jsonl", "my"),
        ("~/my.data.JSONL.gz", "my.data"),
        ("openai/gsm8k", "gsm8k"),
        ("my own rows.csv", "my-own-rows"),
        ("data/", "data"),
        ("Übung 1.parquet", "Übung-1"),
        ("...", "mine"),
    ],
)
def test_recipes_have_a_plain_name(dataset, name):
    assert plain_name(dataset) == name


def init(file: str, model: str, *flags: str) -> int:
    return main(["init", file, "--model", model, "--output_dir", "mine", *flags])


def write_file(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


GSM8K_ROWS = [{"question": question, "answer": answer} for question, answer in zip(PROBLEMS, MARKED, strict=True)]


@pytest.mark.parametrize("share", ["0", "0.99", "1"])
def test_a_share_that_cannot_be_held_out_is_refused(share, chat_model, capsys):
    write_file("rows.jsonl", GSM8K_ROWS)
    assert init("rows.jsonl", chat_model, "--test_share", share) == 2
    assert "`test_share" in capsys.readouterr().err
    assert not Path("mine").exists()


def test_what_is_left_to_train_on_is_counted_in_problems(chat_model, capsys):
    write_file("rows.jsonl", GSM8K_ROWS[:3] * 3)
    assert init("rows.jsonl", chat_model) == 0
    assert "held out        3 rows: few, so intervals will be wide" in capsys.readouterr().out
    assert yaml.safe_load(Path("mine/base.yaml").read_text())["gradient_accumulation_steps"] == 4
    assert main(["train", "--config", "mine/prefix_rft.yaml", "--dry_run"]) == 0


def test_splits_with_other_columns_are_read_by_their_forms(chat_model):
    write_file("data/train.jsonl", GSM8K_ROWS)
    write_file("data/test.jsonl", [{"problem": "Add 5 to 5.", "solution": "It is 10.", "answer": "10"}])
    assert init("data", chat_model, "--max_steps", "1") == 0
    assert "prompt_column" not in yaml.safe_load(Path("mine/base.yaml").read_text())
    assert main(["train", "--config", "mine/grpo.yaml", "--dry_run"]) == 0


def test_slices_are_taken(chat_model):
    write_file("rows.jsonl", GSM8K_ROWS)
    assert init("rows.jsonl", chat_model, "--dataset_train_split", "train[:9]", "--measure_split", "train[9:]") == 0
    assert yaml.safe_load(Path("mine/base.yaml").read_text())["dataset_train_split"] == "train[:9]"


def test_rows_without_an_answer_are_counted(chat_model, capsys):
    write_file("rows.jsonl", [*GSM8K_ROWS[:8], *({**row, "answer": None} for row in GSM8K_ROWS[8:])])
    assert init("rows.jsonl", chat_model) == 0
    said = capsys.readouterr().out
    assert "GRPO only       4 of 12 rows, without a demonstration" in said
    assert "no answer       4 of 12 rows, which teach plain GRPO nothing" in said


def test_a_file_without_stated_answers_says_so(chat_model, capsys):
    turns = conversation(("human", "gpt"), ("from", "value"))
    for one in turns:
        one[1]["value"] = "The answer is simple."
    write_file("share.jsonl", [{"conversations": one} for one in turns])
    assert init("share.jsonl", chat_model) == 2
    assert "the demonstrations state none in a box, in answer tags or after ####" in capsys.readouterr().err
    plain = [{"problem": problem, "solution": "Add them.", "answer": "7"} for problem in PROBLEMS]
    write_file("plain.jsonl", plain)
    assert init("plain.jsonl", chat_model) == 2
    assert "that of row 0 states no answer in a box" in capsys.readouterr().err
    assert init("plain.jsonl", chat_model, "--reward_funcs", "math_accuracy_reward") == 0


def test_what_is_given_reaches_all_recipes_and_their_comments():
    given = {"learning_rate": 1e-4, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 4,
             "lr_scheduler_type": "linear"}  # fmt: skip
    texts = recipe_texts(setup(given=given))
    assert "# Training: 8 prompts x 8 rollouts a step, 1.5 passes" in texts["base.yaml"]
    sft = yaml.safe_load(texts["sft.yaml"])
    assert sft["learning_rate"] == 1e-3
    assert not sft.keys() & (given.keys() - {"learning_rate"})


def test_a_comment_on_the_learning_rate_is_for_one_that_was_chosen():
    chosen, given = (recipe_texts(setup(given=flags))["base.yaml"] for flags in ({}, {"learning_rate": 1e-4}))
    assert "a model of this size" in chosen
    assert "a model of this size" not in given
