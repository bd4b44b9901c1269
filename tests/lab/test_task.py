import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl import lab
from prefix_rft_trl.lab import task
from prefix_rft_trl.lab.task import LEVELS, answer, worked_solution


PROMPTS = st.tuples(
    st.sampled_from("0123456789"),
    st.lists(st.tuples(st.sampled_from("+-*"), st.sampled_from("0123456789")), min_size=1, max_size=7),
).map(lambda parts: parts[0] + "".join(operator + digit for operator, digit in parts[1]) + "=")


def left_to_right(prompt: str) -> int:
    expression = prompt[0]
    for operator, digit in re.findall(r"([+*-])(\d)", prompt):
        expression = f"(({expression}{operator}{digit})%10)"
    return eval(expression)


def test_the_documented_worked_solution_is_right():
    assert worked_solution("3+4*2-5=") == "3+4=7;7*2=4;4-5=9;#9"


@given(PROMPTS)
def test_every_step_of_a_demonstration_is_right(prompt):
    solution = worked_solution(prompt)
    for left, operator, right, result in re.findall(r"(\d)([+*-])(\d)=(\d);", solution):
        assert eval(f"({left}{operator}{right})%10") == int(result)
    assert solution.count(";") == len(prompt) // 2 - 1
    assert answer(prompt) == solution[-1] == str(left_to_right(prompt))


@pytest.mark.parametrize("prompt", ["3+4*2-5=", '3+4*2-5=\nIt\'s "3+4=", in short:', "Think: 1+1=2\n\n3+4*2-5="])
def test_a_worked_answer_is_to_the_problem_in_the_prompt(prompt):
    worked = ["3+4=7;7*2=4;4-5=9;#9", "3+4=7;#7"]
    assert task.worked_answer_reward(worked, [prompt] * 2) == [1, 0]


@pytest.mark.parametrize("prompt", ["What is 3+4?", "3+4=7", [{"role": "user", "content": "3+4="}]])
def test_a_prompt_without_a_problem_has_no_worked_answer(prompt):
    with pytest.raises(ValueError, match=r"lab_worked_answer reads a problem of the lab.*found.*lab_exact_answer"):
        task.worked_answer_reward.check_row({"prompt": prompt})


# With one seed the same problems are drawn for each split
@pytest.mark.parametrize("seeds", [task._SPLIT_SEEDS, dict.fromkeys(task._SPLIT_SEEDS, 1)])
@pytest.mark.parametrize(("level", "digits"), [("easy", 6), ("hard", 8)])
def test_no_problem_is_in_two_splits(monkeypatch, level, digits, seeds):
    monkeypatch.setattr(task, "_SPLIT_SEEDS", seeds)
    train, *others = (lab.load_dataset(split, level=level) for split in ("train", "test", "demonstrations"))
    assert len(train) == 512
    assert len({prompt for split in (train, *others) for prompt in split["prompt"]}) == 3 * 512
    assert all(re.fullmatch(rf"\d([+*-]\d){{{digits - 1}}}=", prompt) for prompt in train["prompt"])
    assert [str(left_to_right(prompt)) for prompt in train["prompt"]] == train["solution"][:]


def test_each_level_has_its_own_base_model():
    assert lab.base_model_path() == lab.base_model_path("easy")
    assert len({lab.base_model_path(level) for level in LEVELS}) == len(LEVELS)
    assert all((Path(lab.base_model_path(level)) / "model.safetensors").is_file() for level in LEVELS)


def test_a_brief_demonstration_leaves_its_last_step_out():
    brief, worked = lab.load_dataset("train", style="brief"), lab.load_dataset("train")
    assert brief["prompt"][:] == worked["prompt"][:]
    for short, long in zip(brief["completion"], worked["completion"], strict=True):
        *steps, last, final = long.split(";")
        assert short == ";".join([*steps, final])
        assert last.endswith(f"={final[1:]}")
    assert brief["solution"][:] == worked["solution"][:]


def test_levels_of_the_same_length_have_the_same_problems():
    hard, *others = (lab.load_dataset("test", level=level).to_dict() for level in LEVELS if level != "easy")
    assert all(other == hard for other in others)


def test_a_swapped_demonstration_has_the_result_of_a_step_first():
    for swapped, worked in zip(
        *(lab.load_dataset(style=style)["completion"] for style in ("swapped", "worked")), strict=True
    ):
        assert re.sub(r"(\d)=(\d[-+*]\d);", r"\2=\1;", swapped) == worked


@given(PROMPTS)
def test_a_paired_demonstration_takes_two_operations_a_step(prompt):
    *steps, final = task.STYLES["paired"](prompt, task.step_results(prompt)).split(";")
    value = prompt[0]
    for step in steps:
        done, result = step.split("=")
        assert done[0] == value
        assert left_to_right(f"{done}=") == int(result)
        value = result
    assert final == f"#{left_to_right(prompt)}"
    assert "".join(step.split("=")[0][1:] for step in steps) == prompt[1:-1]
    assert {len(step.split("=")[0]) for step in steps[:-1]} <= {5}


def test_shown_work_earns_only_with_a_step_and_the_right_answer():
    assert lab.shown_work_reward(["#9", "3+4=7;#9", "3+4=7;#8", "3+4=7;##9"], ["9"] * 4) == [0, 1, 0, 0]


def wrong_steps(demonstration: str) -> list[int]:
    steps = re.findall(r"(\d)([+*-])(\d)=(\d);", demonstration)
    return [place for place, (*step, result) in enumerate(steps) if eval("".join(step)) % 10 != int(result)]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("level", LEVELS)
def test_exactly_the_given_share_has_one_wrong_step_with_its_consequences(level, split):
    uncorrupted = lab.load_dataset(split, level=level)
    rows = lab.load_dataset(split, level=level, corrupted_share=0.3)
    assert (rows["prompt"][:], rows["solution"][:]) == (uncorrupted["prompt"][:], uncorrupted["solution"][:])
    mistakes = [wrong_steps(demonstration) for demonstration in rows["completion"]]
    assert sum(map(bool, mistakes)) == round(0.3 * 512)
    assert max(map(len, mistakes)) == 1
    assert {step for steps in mistakes for step in steps} == set(range(LEVELS[level].operands - 1))
    starts = [one.partition("=")[0] for one in rows["completion"]]
    assert starts == [prompt[:3] for prompt in rows["prompt"]]
    chained = [re.findall(r"=(\d);(?=(\d)[+*-])", demonstration) for demonstration in rows["completion"]]
    assert all(result == next_left for steps in chained for result, next_left in steps)
    intact = [i for i in range(512) if not mistakes[i]]
    assert rows.select(intact)[:] == uncorrupted.select(intact)[:]
    answers = [demonstration[-1] for demonstration in rows["completion"]]
    wrong = sum(one != right for one, right in zip(answers, rows["solution"], strict=True))
    assert 0.5 * 0.3 * 512 < wrong <= 0.3 * 512  # mostly, as the multiplication by 0 forgets what was before


def rows_with(setting: str, share: float, seed: int = 0) -> dict[int, str]:
    """The corrupted demonstrations, or all that are there, by the number of their row."""
    rows = lab.load_dataset("train", seed=seed, **{setting: share})["completion"]
    return {i: one for i, one in enumerate(rows) if (wrong_steps(one) if setting == "corrupted_share" else one)}


@pytest.mark.parametrize("setting", ["corrupted_share", "demonstrated_share"])
def test_a_larger_share_includes_a_smaller_one(setting):
    found = [rows_with(setting, share) for share in (0.0, 0.01, 0.1, 0.6, 1.0)]
    assert [len(rows) for rows in found] == [0, 5, 51, 307, 512]
    assert all(smaller.items() < larger.items() for smaller, larger in pairwise(found))
    assert rows_with(setting, 0.1, seed=1).keys() != found[2].keys()


def test_damage_and_missing_demonstrations_are_independent():
    both = lab.load_dataset("train", corrupted_share=0.3, demonstrated_share=0.5)
    corrupted_alone = lab.load_dataset("train", corrupted_share=0.3)
    assert (both["prompt"][:], both["solution"][:]) == (corrupted_alone["prompt"][:], corrupted_alone["solution"][:])
    assert {i for i, one in enumerate(both["completion"]) if one} == rows_with("demonstrated_share", 0.5).keys()
    assert all(
        one in ("", other) for one, other in zip(both["completion"], corrupted_alone["completion"], strict=True)
    )


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (lab.load_dataset, {"split": "dev"}, r"'dev'.*train, test"),
        (lab.load_dataset, {"level": "harder"}, r"'harder'.*easy, hard, hard_third, hard_half"),
        (lab.base_model_path, {"level": "harder"}, r"'harder'.*easy, hard, hard_third, hard_half"),
        (lab.load_dataset, {"style": "verbose"}, r"'verbose'.*worked, brief"),
        (lab.load_dataset, {"corrupted_share": 1.2}, r"corrupted_share.*1\.2"),
        (lab.load_dataset, {"demonstrated_share": -0.1}, r"demonstrated_share.*-0\.1"),
        (lab.load_dataset, {"corrupted_share": float("nan")}, r"corrupted_share.*nan"),
    ],
)
def test_unknown_names_list_the_known_ones_and_shares_have_a_range(function, settings, message):
    with pytest.raises(ValueError, match=message):
        function(**settings)


def test_a_smaller_split_is_the_start_of_a_larger_one():
    assert lab.load_dataset("train", 5)[:] == lab.load_dataset("train")[:5]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("3+4=7;#7", 1.0), ("#7", 1.0), ("#8", 0.0), ("7", 0.0), ("#7#7", 0.0), ("#77", 0.0), ("", 0.0), ("##7", 0.0)],
)
def test_the_exact_answer_stands_after_exactly_one_mark(completion, reward):
    assert lab.exact_answer_reward([completion], solution=["7"]) == [reward]


def test_working_step_by_step_is_rewarded_right_or_wrong():
    assert lab.step_by_step_reward(["3+4=7;#7", "3+4=8;", "#7", ""]) == [1.0, 1.0, 0.0, 0.0]


def test_the_old_name_of_a_share_is_accepted_with_a_warning():
    with pytest.warns(FutureWarning, match="`damaged_share` is now called `corrupted_share`"):
        rows = lab.load_dataset("train", damaged_share=0.3)
    assert rows[:] == lab.load_dataset("train", corrupted_share=0.3)[:]
