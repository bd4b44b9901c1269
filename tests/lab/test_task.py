import random
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl import lab
from prefix_rft_trl.lab import task
from prefix_rft_trl.lab.task import LEVELS, answer, damaged, results_of_steps, worked_solution


PROMPTS = st.tuples(
    st.sampled_from("0123456789"),
    st.lists(st.tuples(st.sampled_from("+-*"), st.sampled_from("0123456789")), min_size=1, max_size=7),
).map(lambda parts: parts[0] + "".join(operator + digit for operator, digit in parts[1]) + "=")


def left_to_right(prompt: str) -> int:
    expression = prompt[0]
    for operator, digit in re.findall(r"([+*-])(\d)", prompt):
        expression = f"(({expression}{operator}{digit})%10)"
    return eval(expression)


def test_the_documented_example_is_right():
    assert worked_solution("3+4*2-5=") == "3+4=7;7*2=4;4-5=9;#9"


@given(PROMPTS)
def test_a_demonstration_is_right_at_every_step(prompt):
    solution = worked_solution(prompt)
    for left, operator, right, result in re.findall(r"(\d)([+*-])(\d)=(\d);", solution):
        assert eval(f"({left}{operator}{right})%10") == int(result)
    assert solution.count(";") == len(prompt) // 2 - 1
    assert answer(prompt) == solution[-1] == str(left_to_right(prompt))


def test_no_problem_is_both_trained_on_and_held_out():
    train, test = lab.load_dataset("train"), lab.load_dataset("test")
    assert len(train) == len(test) == 512
    assert len(set(train["prompt"]) | set(test["prompt"])) == 1024


def test_a_problem_that_is_drawn_for_both_splits_is_trained_on_alone(monkeypatch):
    monkeypatch.setattr(task, "_SPLIT_SEEDS", {"train": 1, "test": 1})
    train, test = lab.load_dataset("train"), lab.load_dataset("test")
    assert len(set(train["prompt"]) | set(test["prompt"])) == 1024


def test_problems_of_the_hard_level_have_eight_digits_and_none_is_held_out_and_trained_on():
    train, test = lab.load_dataset("train", level="hard"), lab.load_dataset("test", level="hard")
    assert len(set(train["prompt"]) | set(test["prompt"])) == 1024
    assert all(re.fullmatch(r"\d([+*-]\d){7}=", prompt) for prompt in [*train["prompt"], *test["prompt"]])
    assert [str(left_to_right(prompt)) for prompt in train["prompt"]] == train["solution"][:]
    assert all(re.fullmatch(r"\d([+*-]\d){5}=", prompt) for prompt in lab.load_dataset("train")["prompt"])


def test_each_level_has_a_base_model_of_its_own():
    assert lab.base_model_path() == lab.base_model_path("easy") != lab.base_model_path("hard")
    assert all((Path(lab.base_model_path(level)) / "model.safetensors").is_file() for level in LEVELS)


def test_a_brief_demonstration_leaves_its_last_step_out():
    brief, worked = lab.load_dataset("train", style="brief"), lab.load_dataset("train")
    assert brief["prompt"][:] == worked["prompt"][:]
    for short, long in zip(brief["completion"], worked["completion"], strict=True):
        *steps, last, final = long.split(";")
        assert short == ";".join([*steps, final])
        assert last.endswith(f"={final[1:]}")
    assert brief["solution"][:] == worked["solution"][:]


def wrong_steps(demonstration: str) -> list[int]:
    steps = re.findall(r"(\d)([+*-])(\d)=(\d);", demonstration)
    return [place for place, (*step, result) in enumerate(steps) if eval("".join(step)) % 10 != int(result)]


@given(PROMPTS, st.integers(0, 99))
def test_damage_is_one_wrong_step_and_right_ones_from_there(prompt, seed):
    right = results_of_steps(prompt)
    wrong = damaged(right, prompt, random.Random(seed))
    before = [int(prompt[0]), *wrong]
    steps = zip(before, prompt[1:-1:2], prompt[2:-1:2], wrong, strict=False)
    mistakes = [eval(f"{left}{operator}{digit}") % 10 != result for left, operator, digit, result in steps]
    assert len(wrong) == len(right)
    assert sum(mistakes) == 1
    assert wrong[: mistakes.index(True)] == right[: mistakes.index(True)]


@pytest.mark.parametrize("level", LEVELS)
def test_exactly_the_share_that_was_asked_for_is_damaged(level):
    whole = lab.load_dataset("train", level=level)
    rows = lab.load_dataset("train", level=level, damaged_share=0.3)
    mistakes = [wrong_steps(demonstration) for demonstration in rows["completion"]]
    assert sum(map(bool, mistakes)) == round(0.3 * 512)
    assert max(map(len, mistakes)) == 1
    starts = [one.partition("=")[0] for one in rows["completion"]]
    assert starts == [prompt[:3] for prompt in rows["prompt"]]
    chained = [re.findall(r"=(\d);(?=(\d)[+*-])", demonstration) for demonstration in rows["completion"]]
    assert all(result == next_left for steps in chained for result, next_left in steps)
    untouched = [i for i in range(512) if not mistakes[i]]
    assert rows.select(untouched)[:] == whole.select(untouched)[:]
    answers = [demonstration[-1] for demonstration in rows["completion"]]
    wrong = sum(one != right for one, right in zip(answers, rows["solution"], strict=True))
    assert 0.5 * 0.3 * 512 < wrong <= 0.3 * 512  # mostly, as the multiplication by 0 forgets what was before


def test_damage_leaves_the_problems_and_their_right_answers_as_they_are():
    for split in ("train", "test"):
        whole, rows = lab.load_dataset(split), lab.load_dataset(split, damaged_share=1.0, demonstrated_share=0.5)
        assert rows["solution"][:] == whole["solution"][:]
        assert rows["prompt"][:] == whole["prompt"][:]


def rows_with(setting: str, share: float, seed: int = 0) -> set[int]:
    rows = lab.load_dataset("train", seed=seed, **{setting: share})["completion"]
    return {i for i, one in enumerate(rows) if (wrong_steps(one) if setting == "damaged_share" else one)}


@pytest.mark.parametrize("setting", ["damaged_share", "demonstrated_share"])
def test_what_a_smaller_share_has_a_larger_one_has_too(setting):
    found = [rows_with(setting, share) for share in (0.0, 0.01, 0.1, 0.6, 1.0)]
    assert [len(rows) for rows in found] == [0, 5, 51, 307, 512]
    assert all(smaller < larger for smaller, larger in pairwise(found))
    assert rows_with(setting, 0.1, seed=1) != found[2]


def test_a_damaged_row_is_damaged_alike_in_a_larger_share():
    few = lab.load_dataset("train", damaged_share=0.1)["completion"]
    many = lab.load_dataset("train", damaged_share=0.6)["completion"]
    assert all(few[i] == many[i] for i in rows_with("damaged_share", 0.1))


def test_what_is_not_damaged_or_missing_does_not_depend_on_the_other_share():
    both = lab.load_dataset("train", damaged_share=0.3, demonstrated_share=0.5)["completion"]
    damaged_alone = lab.load_dataset("train", damaged_share=0.3)["completion"]
    assert {i for i, one in enumerate(both) if one} == rows_with("demonstrated_share", 0.5)
    assert all(one in ("", other) for one, other in zip(both, damaged_alone, strict=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"level": "harder"}, r"'harder'.*easy, hard"),
        ({"style": "verbose"}, r"'verbose'.*worked, brief"),
        ({"damaged_share": 1.2}, r"damaged_share.*1\.2"),
        ({"demonstrated_share": -0.1}, r"demonstrated_share.*-0\.1"),
        ({"damaged_share": float("nan")}, r"damaged_share.*nan"),
    ],
)
def test_demonstrations_that_there_are_not_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        lab.load_dataset("train", **settings)


def test_an_unknown_level_has_no_base_model():
    with pytest.raises(ValueError, match=r"'harder'.*easy, hard"):
        lab.base_model_path("harder")


def test_a_smaller_split_is_the_start_of_a_larger_one():
    assert lab.load_dataset("train", 5)[:] == lab.load_dataset("train")[:5]


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'dev'.*train, test"):
        lab.load_dataset("dev")


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("3+4=7;#7", 1.0), ("#7", 1.0), ("#8", 0.0), ("7", 0.0), ("#7#7", 0.0), ("#77", 0.0), ("", 0.0), ("##7", 0.0)],
)
def test_the_reward_takes_the_right_answer_after_exactly_one_mark(completion, reward):
    assert lab.exact_answer_reward([completion], solution=["7"]) == [reward]
