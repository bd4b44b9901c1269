"""Held-out problems: which they are, that none of them is trained on, and that every command sees the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset

from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.cli.launch.trainers import held_out_rows
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.held_out import draw_held_out, pick_split, prompt_key
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
from prefix_rft_trl.evaluation.sampling import EvalOverrides
from prefix_rft_trl.models.sources import load_tokenizer
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import FOLDER


ROWS = [
    {"prompt": f"{number}+1=", "completion": f"#{number + 1}", "solution": str(number + 1)} for number in range(30)
]
VARIANTS = [{**ROWS[3], "prompt": " 3+1= "}, {**ROWS[3], "prompt": "3+1=\n"}, ROWS[3], ROWS[8]]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def rows(tmp_path) -> str:
    """A file of 34 rows with 30 different problems."""
    return write(tmp_path / "rows.jsonl", [*ROWS, *VARIANTS])


def divided(name: str, **settings: Any) -> tuple[list[str], list[str]]:
    """The prompts that a recipe trains on, and those that it measures."""
    script_args = PrefixScriptArguments(dataset_name=name, **settings)
    splits = load_splits(name, streaming=script_args.dataset_streaming, settings=vars(script_args))
    trained = pick_split(splits, script_args.dataset_train_split)
    return [row["prompt"] for row in trained], list(held_out_rows(splits, script_args)["prompt"])


def problems(prompts: list[str]) -> set[str]:
    return {prompt.strip() for prompt in prompts}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_of_the_problems_is_held_out_with_all_their_rows(rows, share):
    trained, measured = divided(rows, test_share=share)
    assert not problems(trained) & problems(measured)
    assert len(problems(measured)) == max(1, round(30 * share))
    assert sorted([*trained, *measured]) == sorted(row["prompt"] for row in [*ROWS, *VARIANTS])


def test_rows_with_equal_prompts_go_together_whichever_are_drawn(rows):
    sides = {}
    for seed in range(12):
        measured = divided(rows, test_share=0.5, test_seed=seed)[1]
        sides[len([prompt for prompt in measured if prompt.strip() == "3+1="])] = seed
    assert set(sides) == {0, 4}


def test_the_draw_depends_on_its_own_seed_and_the_prompts_alone(rows, tmp_path):
    drawn = divided(rows, test_share=0.2)[1]
    assert divided(rows, test_share=0.2)[1] == drawn
    assert divided(rows, test_share=0.2, test_seed=1)[1] != drawn
    assert set(drawn) < set(divided(rows, test_share=0.4)[1])
    turned = write(tmp_path / "turned.jsonl", [*ROWS, *VARIANTS][::-1])
    assert sorted(divided(turned, test_share=0.2)[1]) == sorted(drawn)


def test_a_prompt_that_cannot_be_used_is_not_held_out():
    keys = [prompt_key(prompt) for prompt in (None, "", 7, [], "a", [{"role": "user", "content": "A "}], "b")]
    assert keys[:4] == [None] * 4
    assert keys[4] == keys[5] != keys[6]
    assert all(draw_held_out(keys, 0.5, seed) in ({4, 5}, {6}) for seed in range(8))


def test_slices_divide_a_split(rows):
    trained, measured = divided(rows, dataset_train_split="train[:20]", measure_split="train[20:30]")
    assert trained == [row["prompt"] for row in ROWS[:20]]
    assert measured == [row["prompt"] for row in ROWS[20:]]
    trained, measured = divided(rows, dataset_train_split="train[:50%]+train[-2:]", measure_split="train[20:30]")
    assert (len(trained), len(measured)) == (19, 10)


def test_a_share_of_a_slice_is_held_out(rows):
    trained, measured = divided(rows, dataset_train_split="train[:20]", test_share=0.25)
    assert sorted([*trained, *measured]) == sorted(row["prompt"] for row in ROWS[:20])
    assert len(measured) == 5


@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_of_held_out_problems_needs_no_demonstrations(rows, tmp_path, streaming):
    held_out = [{"prompt": "9+9=", "solution": "18"}, {"prompt": "8+9=", "solution": "17"}]
    file = write(tmp_path / "held.jsonl", held_out)
    trained, measured = divided(rows, dataset_test_file=file, dataset_streaming=streaming)
    assert (len(trained), measured) == (34, ["9+9=", "8+9="])
    assert divided(rows, dataset_test_file=file, measure_rows=1)[1] == ["9+9="]


def test_files_of_a_folder_are_splits_though_their_columns_differ(tmp_path):
    write(tmp_path / "data" / "train.jsonl", ROWS)
    Dataset.from_list([{"prompt": "9+9=", "solution": "18"}]).to_parquet(tmp_path / "data" / "test.parquet")
    write(tmp_path / "data" / "dev.jsonl", [{"prompt": "8+9="}])
    (tmp_path / "data" / "notes.txt").write_text("of the files beside it")
    trained, measured = divided(str(tmp_path / "data"))
    assert (len(trained), measured) == (30, ["9+9="])
    assert divided(str(tmp_path / "data"), measure_split="validation")[1] == ["8+9="]
    replaced = divided(str(tmp_path / "data"), test_share=0.1)
    assert (len(replaced[0]), len(replaced[1])) == (27, 3)


@pytest.mark.parametrize("process", [None, "0", "1"])
def test_held_out_problems_that_are_trained_on_are_left_out_and_counted(rows, tmp_path, caplog, monkeypatch, process):
    if process:
        monkeypatch.setenv("LOCAL_RANK", process)
    file = write(
        tmp_path / "held.jsonl", [{"prompt": "9+9=", "solution": "18"}, {"prompt": "3+1=  ", "solution": "4"}]
    )
    assert divided(rows, dataset_test_file=file)[1] == ["9+9="]
    assert ("1 of 2 held-out problems are left out" in caplog.text) == (process != "1")


def test_an_evaluation_asks_what_a_run_held_out(rows, base_model):
    def asked(**settings: Any) -> list[str]:
        overrides = EvalOverrides(instruction="", conversational=False, max_new_tokens=4, **settings)
        (benchmark,) = find_benchmarks(rows, overrides, None, load_tokenizer(base_model))
        return [prompt.strip() for prompt in benchmark.rows["prompt"]]

    own = {"reward": "lab_exact_answer"}
    assert problems(asked(test_share=0.2, test_seed=5, **own)) == problems(
        divided(rows, test_share=0.2, test_seed=5)[1]
    )
    assert asked(dataset_split="train[20:30]", **own) == [row["prompt"] for row in ROWS[20:]]
    with pytest.raises(ValueError, match="`test_share` is for the dataset of a training, and lab"):
        find_benchmarks("lab", EvalOverrides(test_share=0.5), None, load_tokenizer(base_model))


def test_what_is_shared_with_training_is_refused(rows):
    for trained, measured in (
        ("train", "train"),
        ("train[:20]", "train[19:]"),
        ("train[:20]", "train"),
        ("train", "train[5:]"),
    ):
        with pytest.raises(UserError, match="have rows in common"):
            divided(rows, dataset_train_split=trained, measure_split=measured)
    with pytest.raises(UserError, match="have rows in common"):
        divided(rows, test_share=0.1, measure_split="train[30:]")


def test_data_check_sees_all_rows_and_inspect_those_that_a_recipe_trains_on(rows, tmp_path, capsys):
    recipe = yaml.safe_load((FOLDER / "lab" / "prefix_rft.yaml").read_text())
    recipe |= {"dataset_name": rows, "test_share": 0.2, "per_device_train_batch_size": 8}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    trained, measured = divided(rows, test_share=0.2)
    check = ["data", "check", "--recipe", str(tmp_path / "recipe.yaml"), "--num_workers", "1", "--benchmarks"]
    for flags, expected in (([], [*trained, *measured]), (["--split", "test"], measured)):
        main([*check, *flags])
        assert f": {len(expected)} rows" in capsys.readouterr().out
    page = tmp_path / "page.html"
    flags = ["--config", str(tmp_path / "recipe.yaml"), "--output", str(page)]
    assert main(["inspect", *flags, "--rows", str(len(trained) - 1)]) == 0
    assert trained[-1].strip() in page.read_text()
    assert main(["inspect", *flags, "--rows", str(len(trained))]) == 2
    assert f"{len(trained)} rows" in capsys.readouterr().err


OWN = {
    "prompt-completion": lambda one: ROWS[one],
    "worked": lambda one: {"prompt": f"{one}+1=", "solution": f"We add 1 and have {one + 1}.", "answer": f"{one + 1}"},
    "gsm8k": lambda one: {"question": f"{one}+1=", "answer": f"It is more.\n#### {one + 1}"},
    "alpaca": lambda one: {"instruction": "Add 1.", "input": f"{one}", "output": f"It is {one + 1}", "answer": one},
    "messages": lambda one: {
        "prompt": f"Raw {one}",
        "messages": [
            {"role": "user", "content": f"{one}+1="}, {"role": "assistant", "content": rf"\boxed{{{one + 1}}}"},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", OWN)
def test_all_methods_and_an_evaluation_hold_out_the_same_problems(form, tmp_path, base_model):
    name = write(tmp_path / "own.jsonl", [OWN[form](one) for one in range(30)])
    script_args = PrefixScriptArguments(dataset_name=name, test_share=0.2)
    measured = []
    for column in ("completion", "none"):  # of the demonstrations: Prefix-RFT and SFT, and plain GRPO
        splits = load_splits(name, settings=vars(script_args), columns={"demonstration_column": column})
        rows = held_out_rows(splits, script_args)
        assert not {str(row["prompt"]) for row in splits["train"]} & {str(row["prompt"]) for row in rows}
        measured.append([(row["prompt"], row["solution"]) for row in rows])
    tokenizer = load_tokenizer(base_model)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    overrides = EvalOverrides(test_share=0.2, instruction="", conversational=False, reward="lab_exact_answer")
    asked = find_benchmarks(name, overrides, None, tokenizer)[0].rows
    measured.append([(row["prompt"], row["solution"]) for row in asked])
    assert len(measured[0]) == 6
    assert measured == [measured[0]] * 3
