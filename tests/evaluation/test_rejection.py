"""Demonstrations from a model's own answers: which are kept, how they are written, and what is reported."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.rejection.selection import Selection
from prefix_rft_trl.evaluation.rejection.solved_report import _bins, advice_on_none
from prefix_rft_trl.evaluation.samples import LikelySample
from prefix_rft_trl.method.demonstrations import parse_demonstrations


TEMPLATE = "{% for message in messages %}{{ message['content'] }}={% endfor %}"


def sample(number: int, text: str, log_probability: float = -1.0, **others: Any) -> LikelySample:
    known = {"reward": 1.0, "tokens": len(text), "is_truncated": False, **others}
    return LikelySample(0, number, text, None, log_probability=log_probability, **known)


ANSWERS = [
    sample(0, "long but likely", -0.1),
    sample(1, "wrong", -0.01, reward=0.0),
    sample(2, "short", -0.9),
    sample(3, "equal", -0.9),
    sample(4, "short", -0.2),
    sample(5, "cut", -0.01, is_truncated=True),
    sample(6, "half", -0.01, reward=0.5),
    sample(7, "  ", -0.01),
    sample(8, "none", -0.01, reward=None),
    sample(9, "unlike", -0.20001),
]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (Selection(), [2]),
        (Selection(keep=2), [2, 3]),
        (Selection(keep=9), [2, 3, 9, 0]),
        (Selection(keep=9, order="most_likely"), [0, 4, 9, 3]),
        (Selection(keep=9, min_reward=0.5), [6, 2, 3, 9, 0]),
        (Selection(min_reward=1.5), []),
    ],
    ids=str,
)
def test_accepted_answers_are_kept_in_order_each_text_once(selection, kept):
    assert [chosen.sample for chosen in selection.demonstrations(ANSWERS)] == kept
    assert [chosen.sample for chosen in selection.demonstrations(ANSWERS[::-1])] == kept, "in any order of arrival"


def test_numbers_of_answers_are_grouped_without_a_gap():
    for most in range(1, 70):
        bins = list(_bins(most))
        assert [number for low, high in bins for number in range(low, high + 1)] == list(range(most + 1))
        assert len(bins) <= 9


PROBLEMS = {  # answers to a problem, with whether each ends
    "solved": [("9 so 4", True), ("4", True), ("so it is 4", True), ("4", True)],
    "too long": [("4", False), ("so 4", False), ("5", True), ("6", True)],
    "failed": [("5", True)] * 4,
    "once": [("3", True), ("two and two are 4", True), ("2", True), ("1", True)],
}


@pytest.fixture
def rows(write_jsonl) -> Path:
    return write_jsonl(
        *({"level": place // 2, "prompt": name, "solution": "4", "id": place} for place, name in enumerate(PROBLEMS))
    )


REWARD = """
def last_number(completions, solution, **columns):
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    return [float(text.split()[-1:] == [gold]) for text, gold in zip(texts, solution)]
"""


@pytest.fixture
def reward(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_reward_of_last_number.py").write_text(REWARD)
    return "own_reward_of_last_number.last_number"


@pytest.fixture
def make(tmp_path, text_model, rows, answer_by, reward) -> Callable[..., list[dict[str, Any]]]:
    """The rows that a command writes, of answers in which the last word is the answer."""
    answer_by(lambda prompt, number: PROBLEMS[prompt.rstrip("=")][number])

    def run(*flags: str, file: Path = rows, output: str = "own.jsonl", exit_code: int = 0) -> list[dict[str, Any]]:
        asked = ["--model", str(text_model), "--dataset", str(file), "--reward", reward]
        asked += ["--num_samples", "4", "--max_new_tokens", "32", "--output", str(tmp_path / output)]
        assert main(["data", "sample", "--backend", "transformers", *asked, *flags]) == exit_code
        return (
            load_dataset("json", data_files=str(tmp_path / output), split="train").to_list() if not exit_code else []
        )

    return run


def test_a_row_has_prompt_completion_solution_and_all_other_columns(make):
    assert make() == [
        {"prompt": "solved", "completion": "4", "solution": "4", "level": 0, "id": 0},
        {"prompt": "once", "completion": "two and two are 4", "solution": "4", "level": 1, "id": 3},
    ]


def test_several_demonstrations_are_lists_in_all_rows(make):
    found = make("--keep", "3", "--order", "most_likely")
    assert [row["completion"] for row in found] == [["so it is 4", "9 so 4", "4"], ["two and two are 4"]]
    assert [len(parse_demonstrations(row["completion"])) for row in found] == [3, 1]


def test_all_problems_are_written_if_asked_for_those_without_an_answer_empty(make):
    found = make("--all", "--keep", "2")
    assert [row["id"] for row in found] == [0, 1, 2, 3]
    assert [len(parse_demonstrations(row["completion"])) for row in found] == [2, 0, 0, 1]


def test_the_report_counts_what_was_solved(make, tmp_path, capsys):
    make()
    report = json.loads((tmp_path / "_own.jsonl.samples" / "report.json").read_text())
    figures = report["figures"]
    assert figures["accepted_of_problems"] == [4, 0, 0, 1]
    names = (
        "problems",
        "solved",
        "answers",
        "accepted",
        "kept",
        "cut_off",
        "right_but_cut_off",
        "repeated",
        "unscored",
    )
    assert [figures[name] for name in names] == [4, 2, 16, 5, 2, 2, 2, 1, 0]
    assert figures["by_column"] == {"level": {"0": [1, 2], "1": [1, 2]}}
    assert figures["tokens"]["kept"] == {"mean": 10.0, "median": 10.0, "longest": 18}
    shown = capsys.readouterr().out
    assert "solved (pass@4)" in shown
    assert "right, but cut off: not kept" in shown
    assert max(map(len, shown.partition("The 2 rows")[0].splitlines())) <= 80
    assert report["settings"]["keep"] == 1


def test_prompts_that_are_messages_get_messages(make, write_jsonl):
    given = [{"prompt": [{"role": "user", "content": name}], "solution": "4"} for name in PROBLEMS]
    template = json.dumps({"chat_template": TEMPLATE})
    found = make("--chat_template_kwargs", template, file=write_jsonl(*given, name="messages"))
    assert found[0]["prompt"] == given[0]["prompt"]
    assert found[0]["completion"] == [{"role": "assistant", "content": "4"}]


def test_text_is_asked_as_messages_and_stays_text(make, capsys):
    found = make("--conversational", "--chat_template_kwargs", json.dumps({"chat_template": TEMPLATE}))
    assert [row["prompt"] for row in found] == ["solved", "once"]
    assert "Train on them with `conversational: true`." in capsys.readouterr().out


def test_a_recipe_says_how_to_ask_and_which_column_was_not_read(make, tmp_path, rows, capsys):
    recipe = tmp_path / "recipe.yaml"
    settings = "answer_column: solution\ndemonstration_column: worked\nmax_completion_length: 20\n"
    recipe.write_text(f"dataset_name: {rows}\ninstruction: Say it\nreward_funcs: [think_format_reward]\n{settings}")
    with pytest.raises(KeyError, match="Say it"):  # the stand-in knows the problems alone
        make("--recipe", str(recipe))
    make("--recipe", str(recipe), "--instruction", "", "--overwrite")
    assert "Train on them with `demonstration_column: completion`." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("best", "begins"),
    [
        (None, "Take more samples"),
        (1.0, "Take more samples"),  # cut off
        (0.5, "The highest reward of an answer was 0.5, and --min_reward is 1. Take a lower --min_reward, more"),
        (0.0, "The highest reward of an answer was 0, and --min_reward is 1. Take more samples"),
    ],
)
def test_the_advice_goes_by_the_highest_reward(best, begins):
    assert advice_on_none({"best_reward": best}, 1.0).startswith(begins)


def test_nothing_is_written_without_an_accepted_answer(make, tmp_path, capsys):
    make("--min_reward", "2", "--all", exit_code=1)
    said = capsys.readouterr().err
    assert "none of 16 answers was accepted, so nothing was written" in said
    assert "The highest reward of an answer was 1, and --min_reward is 2. Take a lower --min_reward, more" in said
    assert not (tmp_path / "own.jsonl").exists()
    assert json.loads((tmp_path / "_own.jsonl.samples" / "report.json").read_text())["figures"]["solved"] == 0


def test_a_demonstration_keeps_its_thinking_and_loses_the_mark_that_ends_it(
    byte_tokenizer, save_tiny_model, tmp_path, rows, reward, monkeypatch
):
    from prefix_rft_trl.evaluation.engines import Engine
    from prefix_rft_trl.evaluation.sampling import Loaded

    marks = ["<end>", "<think>", "</think>", "<other>"]
    tokenizer = byte_tokenizer(special_tokens=marks, pad_token="<end>", eos_token="<end>")
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    model = save_tiny_model(tokenizer, "thinking")
    ids = tokenizer("<think>2+2</think><other>\n 4<end>")["input_ids"]

    class Thinking:
        def with_likelihoods(self, prompts, sampling, seeds):
            return [(ids, -1.0) for _ in prompts]

    monkeypatch.setattr(Engine, "load", lambda *given: Loaded(Thinking(), tokenizer, [tokenizer.eos_token_id]))
    output = tmp_path / "own.parquet"
    asked = ["--model", str(model), "--dataset", str(rows), "--reward", reward, "--backend", "transformers"]
    assert main(["data", "sample", *asked, "--output", str(output), "--max_new_tokens", "32"]) == 0
    found = load_dataset("parquet", data_files=str(output), split="train")["completion"]
    assert set(found) == {"<think>2+2</think>\n 4"}
    kept = json.loads((tmp_path / "_own.parquet.samples" / "report.json").read_text())["figures"]["tokens"]["kept"]
    assert math.isclose(kept["mean"], len(ids)), "lengths are those that were sampled"
