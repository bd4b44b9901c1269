"""What the bank of own successes holds, and that a checkpoint gives it back."""

import datetime
import pickle

import numpy as np
import pytest
import torch

from prefix_rft_trl.method.replay import Attempt, OwnSuccess
from prefix_rft_trl.run.success_bank import BANK_FILE, SolvedProblem, SuccessBank, refuse_unreadable


def success(*ids, logp=-1.0):
    return OwnSuccess(torch.tensor(ids, dtype=torch.int32), torch.full((len(ids),), logp, dtype=torch.float64))


def problem(*successes, bucket=2, example=None):
    return SolvedProblem(example or {"prompt": "p"}, torch.tensor([9, 8], dtype=torch.int32), list(successes), bucket)


def texts(bank):
    return {key: [found.ids.tolist() for found in held.successes] for key, held in bank.problems.items()}


@pytest.fixture
def bank():
    return SuccessBank(max_problems=2, per_problem=2, num_generations=4)


def test_oldest_problems_and_successes_leave_first(bank):
    bank.store(1, problem(success(1), success(2)))
    bank.store(2, problem(success(3)))
    bank.store(1, problem(success(4)))  # which makes 2 the oldest
    assert texts(bank) == {2: [[3]], 1: [[2], [4]]}
    bank.store(5, problem(success(6)))
    assert texts(bank) == {1: [[2], [4]], 5: [[6]]}
    assert (bank.num_successes, bank.buckets) == (3, {1: 2, 5: 2})


def test_same_success_is_held_once_with_its_newest_probabilities(bank):
    bank.store(1, problem(success(1, 2, logp=-3.0), success(5)))
    bank.store(1, problem(success(1, 2, logp=-0.5)))
    assert texts(bank) == {1: [[5], [1, 2]]}
    assert bank.problems[1].successes[1].logps.tolist() == [-0.5, -0.5]


def test_problem_is_in_the_bucket_of_its_last_attempt_and_leaves_for_ever_when_all_solve_it(bank):
    assert bank.record([Attempt(1, 3, [0, 1, 2])]) == [Attempt(1, 3, [1, 2])]
    bank.store(1, problem(success(1), bucket=3))
    assert bank.record([Attempt(1, 1, []), Attempt(2, 0, [])]) == []
    assert bank.buckets == {1: 1}
    assert bank.record([Attempt(1, 4, [])]) == []
    assert bank.buckets == {}
    assert bank.record([Attempt(1, 2, [7])]) == []  # what it has mastered it does not store again


def test_problem_with_two_groups_in_a_batch_follows_the_last(bank):
    assert bank.record([Attempt(1, 3, [0]), Attempt(1, 1, [4])]) == [Attempt(1, 1, [0]), Attempt(1, 1, [4])]
    assert bank.record([Attempt(2, 3, [0]), Attempt(2, 4, [])]) == []


def test_saved_bank_is_given_back(bank, tmp_path):
    example = {"prompt": [{"role": "user", "content": "é"}], "when": datetime.datetime(2026, 1, 2), "n": None}
    bank.has_started = True
    bank.record([Attempt(2**63 - 1, 4, [])])
    bank.store(1, problem(success(1, 2), success(3), example=example))
    bank.store(2**62, problem(success(4, 5, 6, logp=-0.125), bucket=3))
    bank.save(tmp_path)
    restored = SuccessBank(2, 2, 4)
    assert restored.load(tmp_path)
    assert texts(restored) == texts(bank)
    assert restored.buckets == bank.buckets
    assert restored.has_started
    assert restored.mastered == {2**63 - 1}
    assert restored.problems[1].example == example
    for key, held in bank.problems.items():
        assert torch.equal(restored.problems[key].prompt_ids, held.prompt_ids)
        for before, after in zip(held.successes, restored.problems[key].successes, strict=True):
            assert before.logps.dtype == after.logps.dtype
            assert torch.equal(before.logps, after.logps)


def test_empty_bank_is_given_back_and_a_missing_one_is_seen(bank, tmp_path):
    assert not bank.load(tmp_path)
    bank.save(tmp_path)
    assert bank.load(tmp_path)
    assert bank.problems == {}


def test_file_of_a_bank_runs_nothing(bank, tmp_path):
    class Payload:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"problems": [Payload()]}, tmp_path / BANK_FILE)
    with pytest.raises(pickle.UnpicklingError):
        bank.load(tmp_path)


def test_rows_that_a_checkpoint_gives_back():
    zone = datetime.UTC
    refuse_unreadable({"prompt": "1+1=", "seen": datetime.datetime(2026, 1, 1, tzinfo=zone), "tags": [{"a": None}]})
    with pytest.raises(ValueError, match=r"Column 'levels' has a ndarray in the first row"):
        refuse_unreadable({"prompt": "1+1=", "levels": np.array([1, 2])})
