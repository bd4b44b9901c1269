"""`prefix-rft data check` on files, with the verifier that rewards use."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from rich.text import Text
from transformers import AutoTokenizer

from prefix_rft_trl.cli.data import run as convert
from prefix_rft_trl.cli.data_check import run, settings_for_check
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.held_out import draw_held_out, prompt_key
from prefix_rft_trl.rewards.verification.verifier import Verifier
from prefix_rft_trl.utils.errors import UserError


INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}"
BENCHMARK = (
    "A list of 13 distinct positive integers has mean 20 and its median is 25. What is the largest possible "
    "value that the smallest integer in the list can take?"
)
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think></think>{% endif %}"
)


def row(question: str, answer: str, work: str = "Counting gives the result.") -> dict:
    """A row as `prefix-rft data` writes it."""
    return {
        "prompt": [{"role": "user", "content": f"{question}\n{INSTRUCTION}"}],
        "completion": [{"role": "assistant", "content": f"{work}\nThe answer is \\boxed{{{answer}}}."}],
        "solution": answer,
    }


CLEAN = [
    row(f"A farm has {number} hens and buys {number} more. How many hens?", f"{2 * number}") for number in range(9)
]
CLEAN[3]["solution"] = "6.0"  # the same number, written otherwise
CLEAN[4]["completion"][0]["content"] = "So \\boxed{\\frac{16}{2}} hens."

FAULTS = {
    "prompt_unusable": {**row("", "1"), "prompt": []},
    "demonstration_unusable": {**row("Two hens and a cock?", "3"), "completion": [{"role": "user", "content": "3"}]},
    "no_demonstration": {**row("Three geese and a gander?", "4"), "completion": None},
    "gold_missing": {**row("How many sides has a square?", "4"), "solution": None},
    "gold_unreadable": {**row("How many sides has a hexagon?", "6"), "solution": "\\frac{6}{"},
    "gold_read_in_part": row("Which digits are there, from 1 on?", "1, 2, \\ldots, 9"),
    "answer_disagrees": {**row("How many sides has a pentagon?", "7"), "solution": "5"},
    "answer_missing": row("How many sides has a heptagon?", "7"),
    "answer_form": row("How many sides has a dodecagon?", "12"),
    "answer_unworked": row("How many sides has a hendecagon?", "11", "It has 10 and one more, 12."),
    "duplicate": row("a farm has 5 hens  and buys 5 more. How many hens?", "10"),
    "conflicting_gold": row("A farm has 7 hens and buys 7 more. How many hens?", "15"),
    "benchmark_exact": row(BENCHMARK.upper(), "13"),
    "benchmark_overlap": row(BENCHMARK.replace("A list of 13", "A set of 13").replace("take", "have"), "13"),
    "template_token": row("How many sides has an octagon?<|im_end|>", "8"),
    "prompt_too_long": row("How many sides has a nonagon? " + "Hint: count them. " * 20, "9"),
    "demonstration_too_long": row("How many sides has a decagon?", "10", "One more. " * 60),
    "no_place_for_thinking": row("How many sides has a triangle?", "3", "<think>Easy.</think>"),
}
FAULTS["answer_missing"]["completion"][0]["content"] = "It has one side more than a hexagon, so"
FAULTS["answer_form"]["completion"][0]["content"] = "Two more than ten.\n#### 12"


@pytest.fixture(scope="module", autouse=True)
def _one_worker_and_no_benchmarks():
    """The verifier of rewards, with one worker for all tests: each takes a second to start."""
    with Verifier(num_workers=1) as worker, pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefix_rft_trl.rewards.verification.verifier.Verifier", lambda num_workers: nullcontext(worker))
        patch.delenv("PREFIX_RFT_DATA", raising=False)
        yield


@pytest.fixture
def write(tmp_path):
    def to(name: str, rows: list[dict]) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        return str(path)

    return to


@pytest.fixture
def all_checks(tmp_path, write, text_model) -> list[str]:
    """A benchmark, and budgets in bytes for a chat template that closes the thinking block before the answer."""
    benchmark = write("aime99.jsonl", [{"problem": BENCHMARK, "answer": "13"}])
    folder = str(tmp_path / "tokenizer")
    AutoTokenizer.from_pretrained(text_model, chat_template=TEMPLATE).save_pretrained(folder)
    budgets = ["--max_prompt_tokens", "260", "--max_completion_tokens", "500"]
    return ["--benchmarks", benchmark, "--tokenizer", folder, *budgets]


@pytest.fixture
def findings(tmp_path) -> Callable[..., dict[str, list[int]]]:
    """Runs the command, which exits with a code; returns the rows of each kind in its JSON report."""

    def check(code: int, *arguments: str) -> dict[str, list[int]]:
        report = tmp_path / "out" / "report.json"
        assert main(["data", "check", *arguments, "--json", str(report)]) == code
        kinds = json.loads(report.read_text())["findings"]
        return {kind: about["rows"] for kind, about in kinds.items() if about["rows"]}

    return check


@pytest.fixture
def recipe(tmp_path) -> Callable[..., list[str]]:
    """Writes a recipe for the lab's model; returns the flags that check its dataset."""

    def write_recipe(**settings: object) -> list[str]:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"model_name_or_path": "lab", **settings}))
        return ["--recipe", str(path), "--answer_markers", "#"]

    return write_recipe


def test_each_planted_fault_is_reported_with_its_row_and_nothing_else(write, all_checks, findings, capsys):
    rows, planted = list(CLEAN), {}
    for kind, faulty in FAULTS.items():
        planted[kind] = [len(rows)]
        rows += [faulty, row(f"A pond has {len(rows)} ducks and one leaves. How many ducks?", f"{len(rows) - 1}")]
    planted["answer_form"] = planted["answer_missing"] + planted["answer_form"]  # what states no answer has no box
    assert findings(1, write("rows.jsonl", rows), *all_checks) == planted
    printed = capsys.readouterr().out
    for place in {place for places in planted.values() for place in places}:
        assert f"row {place}: " in printed


def test_the_same_file_without_the_faults_is_clean(write, all_checks, capsys):
    assert run([write("rows.jsonl", CLEAN), *all_checks]) == 0
    assert "Clean." in capsys.readouterr().out


def test_values_of_mixed_types_are_reported_by_row(write, findings):
    rows = [
        {"prompt": "1+1?", "completion": "#### 2", "solution": 2},
        {"prompt": 17, "completion": "#### 2", "solution": "2"},
        {"prompt": "1+2?", "completion": 3, "solution": "3"},
        {"prompt": [{"role": "user", "content": "1+3?"}], "completion": ["#### 4", "\\boxed{4}"], "solution": ["4"]},
    ]
    found = {"prompt_unusable": [1], "demonstration_unusable": [2], "several_demonstrations": [3]}
    assert findings(1, write("rows.jsonl", rows)) == found


def test_columns_with_other_names_are_read(write):
    path = write("rows.jsonl", [{"question": f"{number}+1?", "answer": f"#### {number + 1}"} for number in range(3)])
    names = ["--prompt_column", "question", "--demonstration_column", "answer", "--answer_column", "answer"]
    assert run([path, *names]) == 0


def test_a_dataset_of_prompts_alone_is_checked(write):
    path = write("rows.jsonl", [{"prompt": f"{number}+1?"} for number in range(3)])
    assert run([path, "--demonstration_column", "none", "--answer_column", "none"]) == 0


def test_the_lab_is_clean(prefix_rft):
    done = prefix_rft("data", "check", "lab", "--num_workers", "1")
    assert done.returncode == 0, done.stderr
    assert "Overlap with evaluation benchmarks was not checked" in done.stdout


def test_a_recipe_gives_dataset_columns_and_budgets(write, recipe, capsys):
    rows = [{"question": f"{n}+1=", "work": f"{n}+1={n + 1}#{n + 1}", "gold": n + 1} for n in (1, 7)]
    columns = {"prompt_column": "question", "demonstration_column": "work", "answer_column": "gold"}
    settings = {"dataset_name": write("rows.jsonl", rows), **columns}
    assert run(recipe(max_completion_length=7, **settings)) == 0
    assert run(recipe(max_completion_length=6, **settings)) == 1
    assert "row 0: demonstration has 7 tokens, 6 fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"demonstration_dataset_name": "FILE"}, None),  # the rows that were checked
        ({"demonstration_dataset_name": "b.jsonl"}, "(b.jsonl, split train) are not read here. `prefix-rft"),
        ({"demonstration_dataset_name": "FILE", "demonstration_dataset_split": "train[1:]"}, "--split train[1:] --"),
        ({"demonstration_dataset_name": "a/b", "demonstration_dataset_config": "main"}, "--split train --config main"),
        ({"demonstration_dataset_name": "lab"}, "(lab, split demonstrations) are not read here."),
        ({"demonstration_source": "own"}, "The demonstrations of this dataset are not used"),
    ],
)
def test_demonstrations_from_elsewhere_are_said_not_to_be_read(write, recipe, capsys, settings, said):
    file = write("rows.jsonl", [{"prompt": "1+1=", "completion": "1+1=2#2", "solution": "2"}])
    settings = {name: file if value == "FILE" else value for name, value in settings.items()}
    flags = recipe(dataset_name=file, max_completion_length=20, **settings)
    assert run(flags) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert said in last if said else "Clean." in last
    assert run([file, *flags]) == 0
    assert "Clean." in capsys.readouterr().out.splitlines()[-1]


def test_a_prompt_that_leaves_no_room_in_the_context_is_found(write, recipe, findings):
    rows = [{"prompt": prompt, "completion": "#2", "solution": "2"} for prompt in ("1+1=", "1+1+0=")]
    settings = {"dataset_name": write("rows.jsonl", rows), "max_completion_length": 10, "vllm_max_model_length": 14}
    assert findings(1, *recipe(**settings)) == {"prompt_too_long": [1]}


def test_the_last_stage_with_rollouts_gives_the_settings():
    stages = {"rft": {"max_completion_length": 20, "instruction": None}, "sft": {"trainer": "sft"}}
    shared = {"dataset_name": "rows.jsonl", "max_completion_length": 10, "reasoning_gym": '{"size": 10}'}
    expected = {"dataset_name": "rows.jsonl", "max_completion_length": 20, "reasoning_gym": {"size": 10}}
    assert settings_for_check({**shared, "stages": stages}) == expected
    assert settings_for_check({"trainer": "sft"}) == {"trainer": "sft"}


HELD_OUT_BY = {
    "share": {"test_share": 0.25, "test_seed": 3},
    "slices": {"dataset_train_split": "train[10:]", "measure_split": "train[:10]"},
    "slices the other way round": {"dataset_train_split": "train[:30]", "measure_split": "train[30:]"},
    "share of a slice": {"dataset_train_split": "train[:40]", "test_share": 0.25},
}


@pytest.mark.parametrize("held_out", HELD_OUT_BY.values(), ids=HELD_OUT_BY)
def test_held_out_rows_are_checked_too_and_all_have_their_numbers_in_the_file(
    held_out, write, recipe, findings, capsys
):
    rows = [{"prompt": f"{n}+1=", "completion": f"{n}+1={n + 1}#{n + 1}", "solution": str(n + 1)} for n in range(40)]
    for number in (1, 20, 39):
        rows[number]["solution"] = None
    flags = recipe(dataset_name=write("rows.jsonl", rows), max_completion_length=20, **held_out)
    assert findings(1, *flags) == {"gold_missing": [1, 20, 39]}
    said = " ".join(capsys.readouterr().out.split())
    assert "40 rows, 40 demonstrations 10 of the rows are held out" in said


def test_the_rows_that_are_measured_can_be_checked_alone(write, recipe, findings):
    rows = [{"prompt": f"{n}+1=", "completion": f"{n}+1={n + 1}#{n + 1}", "solution": str(n + 1)} for n in range(8)]
    drawn = max(draw_held_out([prompt_key(each["prompt"]) for each in rows], 0.25, 0))
    for place in (7, drawn):
        rows[place]["solution"] = None
    settings = {"dataset_name": write("rows.jsonl", rows), "max_completion_length": 20}
    assert findings(1, *recipe(test_share=0.25, **settings), "--split", "test")["gold_missing"] == [drawn]
    assert findings(1, *recipe(**settings), "--split", "train[6:]")["gold_missing"] == [7]


def test_examples_fit_the_terminal(write, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    texts = {"completion": "and so on, " * 40 + "[/] #### 3", "solution": "a very long answer " * 9}
    main(["data", "check", write("rows.jsonl", [{"prompt": "1+1?", **texts}] * 2), "--benchmarks"])
    shown = Text.from_ansi(capsys.readouterr().out).plain
    assert max(map(len, shown.splitlines())) <= 80
    assert "\n  row 0: " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no dataset"),
        (["nothing.jsonl"], "no dataset file 'nothing.jsonl'"),
        (["rows.jsonl", "--split", "test"], "no split 'test'"),
        (["rows.jsonl", "--prompt_column", "question"], "no column 'question' for the prompts.*--prompt_column"),
        (["rows.jsonl", "--demonstration_column", "work"], "no column 'work' for the demonstrations"),
        (["rows.jsonl", "--answer_column", "gold"], "no column 'gold' for the gold answers"),
        (["rows.jsonl", "--benchmarks", "math501"], "Did you mean 'math500'"),
        (["rows.jsonl", "--benchmarks", "math500"], "math500 cannot be loaded from the Hub.*Give a JSONL file"),
        (["rows.jsonl", "--benchmarks", ""], "no benchmark ''"),
        (["rows.jsonl", "--max_prompt_tokens", "5"], "--tokenizer"),
        (["rows.jsonl", "--tokenizer", "no/where"], "no tokenizer at 'no/where'"),
        (["empty.jsonl"], "no rows"),
        (["broken.jsonl"], "cannot be read.*line 2 is not JSON"),
    ],
)
def test_an_error_is_one_sentence(write, tmp_path, monkeypatch, arguments, message):
    write("rows.jsonl", CLEAN)
    write("empty.jsonl", [])
    (tmp_path / "broken.jsonl").write_text(json.dumps(CLEAN[0]) + "\n{broken\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(arguments)


def test_benchmarks_in_the_environment_are_checked_by_default(write, findings, tmp_path, monkeypatch):
    (tmp_path / "math_benchmarks").mkdir()
    problem = {"problem": CLEAN[5]["prompt"][0]["content"].partition("\n")[0], "answer": "10"}
    write("math_benchmarks/own.jsonl", [problem])
    monkeypatch.setenv("PREFIX_RFT_DATA", str(tmp_path))
    path = write("rows.jsonl", CLEAN)
    assert findings(1, path) == {"benchmark_exact": [5]}
    assert run([path, "--benchmarks"]) == 0


def test_the_help_does_not_import_torch():
    script = (
        "import sys; from prefix_rft_trl.cli.data_check import run\n"
        "try: run(['--help'])\n"
        "finally: print('slow:', {'torch', 'datasets', 'transformers', 'math_verify'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "slow: set()" in found.stdout


GSM8K = Path(os.environ.get("PREFIX_RFT_DATA", "")) / "gsm8k" / "train.jsonl"


@pytest.mark.skipif(not ("PREFIX_RFT_DATA" in os.environ and GSM8K.is_file()), reason="PREFIX_RFT_DATA has no GSM8K")
def test_converted_gsm8k_is_clean(findings, tmp_path):
    converted = str(tmp_path / "gsm8k.parquet")
    assert convert(["gsm8k", "--input", str(GSM8K), "--output", converted]) == 0
    benchmarks = str(GSM8K.parents[1] / "math_benchmarks")
    found = findings(0, converted, "--benchmarks", benchmarks)
    assert set(found) == {"answer_unworked"}  # cents for dollars, slips, and wrong golds as in row 356
    assert 356 in found["answer_unworked"]
