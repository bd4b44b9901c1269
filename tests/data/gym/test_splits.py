"""Splits of reasoning-gym problems: the same in every process, without common problems."""

import pytest


reasoning_gym = pytest.importorskip("reasoning_gym")

from prefix_rft_trl.data.gym import load_splits  # noqa: E402


FEW = {"size": 12, "test_size": 5}
ONE_MACHINE = {"max_initial_machines": 1, "min_initial_machines": 1}


@pytest.fixture(scope="module")
def sums():
    return load_splits("reasoning_gym/chain_sum", {**FEW, "max_terms": 3})


def test_rows_are_the_problems_of_reasoning_gym(sums):
    made = reasoning_gym.create_dataset("chain_sum", seed=0, size=12, max_terms=3)
    assert sums["train"].column_names == ["prompt", "solution", "entry"], "a task without worked solutions"
    assert list(sums["train"]["prompt"]) == [item["question"] for item in made]
    assert list(sums["train"]["solution"]) == [item["answer"] for item in made]


def test_splits_have_their_sizes_and_no_common_problem():
    splits = load_splits("reasoning_gym/chain_sum", {"size": 40, "test_size": 30})
    prompts = {split: set(rows["prompt"]) for split, rows in splits.items()}
    assert {split: len(found) for split, found in prompts.items()} == {"train": 40, "test": 30}
    assert not prompts["train"] & prompts["test"]


def test_a_training_problem_is_left_out_of_the_test_split(caplog):
    splits = load_splits("reasoning_gym/string_splitting", {"size": 60, "test_size": 40, "max_initial_machines": 2})
    assert 0 < len(splits["test"]) < 40
    assert not set(splits["train"]["prompt"]) & set(splits["test"]["prompt"])
    assert f"{40 - len(splits['test'])} of 40 test problems" in caplog.text


def test_a_seed_gives_every_process_the_same_problems(monkeypatch):
    # A seed alone gives other ones in each process, by the order of a set of letters
    found = []
    for hash_seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        found.append(load_splits("reasoning_gym/ransom_note", FEW)["train"].to_list())
    assert found[0] == found[1]


def test_another_seed_gives_other_problems_and_test_size_zero_no_test_split(sums):
    others = load_splits("reasoning_gym/chain_sum", {"size": 12, "test_size": 0, "seed": 1000, "max_terms": 3})
    assert set(others) == {"train"}
    assert not set(others["train"]["prompt"]) & set(sums["train"]["prompt"])


def test_demonstrations_are_the_worked_solutions_of_the_task():
    rows = load_splits("reasoning_gym/string_manipulation", FEW)["train"]
    made = reasoning_gym.create_dataset("string_manipulation", seed=0, size=12)
    expected = ["\n".join([*item["metadata"]["states"], f"<answer>{item['answer']}</answer>"]) for item in made]
    assert list(rows["completion"]) == expected


def test_mixed_tasks_keep_their_demonstrations():
    parts = [{"name": "chain_sum", "config": {"max_terms": 2}}, {"name": "count_bits", "weight": 2}]
    rows = load_splits("reasoning_gym/composite", {"size": 30, "test_size": 5, "datasets": parts})["train"]
    is_sum = ["arithmetic problem" in prompt for prompt in rows["prompt"]]
    assert 0 < sum(is_sum) < 20
    assert [text is None for text in rows["completion"]] == is_sum


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("chain_sums", {}, "no task 'chain_sums'. Did you mean 'chain_sum'"),
        ("zzzz", {}, "no task 'zzzz'. It has: ab, .*zebra_puzzles"),
        ("chain_sum", {"max_termz": 3}, "'chain_sum' .* no option 'max_termz'. Did you mean 'max_terms'"),
        ("chain_sum", {"min_terms": 5, "max_terms": 2}, "'chain_sum' .*'min_terms': 5.*max_terms"),
        ("composite", {}, "at least one dataset"),
        ("composite", {"datasets": [{"task": "chain_sum"}]}, "task"),
        ("string_splitting", {**FEW, **ONE_MACHINE}, "all 5 of the test split .*`size`, or `test_size: 0`"),
        ("chain_sum", {"size": 0}, "`size` .* from 1 .* found 0"),
        ("chain_sum", {"test_size": 2.5}, "`test_size` .* found 2.5"),
        ("chain_sum", {"seed": "x"}, "`seed` .* found 'x'"),
        ("chain_sum", {"seed": 2**30}, "`seed` .* found 1073741824"),
    ],
)
def test_an_invalid_setting_is_refused_with_the_valid_ones(task, settings, message):
    with pytest.raises(ValueError, match=message):
        load_splits(f"reasoning_gym/{task}", settings)
