import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.run import SuccessHistory
from prefix_rft_trl.run.success_history import problem_key, success_rates


NAN = float("nan")
rollout = st.tuples(st.sampled_from([0.0, 0.5, 0.999, 1.0, 1.5, -1.0, NAN]), st.booleans())
batches = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.lists(rollout, min_size=size, max_size=size), min_size=1, max_size=5)
)


@given(groups=batches, success_reward=st.sampled_from([0.0, 0.5, 1.0]))
@example(groups=[[(1.0, True), (0.0, False)]], success_reward=1.0)
@example(groups=[[(1.0, True), (0.0, True)]], success_reward=1.0)
@example(groups=[[(1.0, False), (NAN, False)]], success_reward=0.0)
def test_success_rate_is_the_share_of_on_policy_rollouts_that_solved_the_problem(groups, success_reward):
    rewards, hybrid = zip(*(rollout for group in groups for rollout in group), strict=True)
    expected = []
    for group in groups:
        counted = [reward for reward, is_hybrid in group if not is_hybrid] or [reward for reward, _ in group]
        expected.append(len([reward for reward in counted if reward >= success_reward]) / len(counted))
    found = success_rates(torch.tensor(rewards), torch.tensor(hybrid), len(groups[0]), success_reward)
    assert found.tolist() == pytest.approx(expected)
    for end in (0.0, 1.0):
        assert [rate == end for rate in found.tolist()] == [rate == end for rate in expected]


def test_new_problem_counts_as_hard_as_the_mean_of_those_attempted():
    history = SuccessHistory()
    assert history.success_rate(5) == 0.0
    history.remember([1, 2, 3], [0.0, 0.25, 1.0])
    assert history.success_rate(5) == pytest.approx(1.25 / 3)
    assert [history.success_rate(key) for key in (1, 2, 3)] == [0.0, 0.25, 1.0]


def test_success_rate_is_that_of_the_last_attempt_and_a_problem_once_solved_has_not_failed():
    history = SuccessHistory()
    assert not history.has_failed(7)
    for rate, failed in ((0.0, True), (0.5, False), (1.0, False), (0.25, False), (0.0, False)):
        history.remember([7], [rate])
        assert (history.success_rate(7), history.has_failed(7)) == (rate, failed)
        assert not history.has_failed(8)


def test_saved_history_is_restored():
    history = SuccessHistory()
    keys = [problem_key(f"{number}+1=") for number in range(20)]
    history.remember(keys, torch.rand(20, generator=torch.Generator().manual_seed(0)).tolist())
    saved = json.loads(json.dumps(history.state()))
    restored = SuccessHistory(**saved["args"])
    for name, value in saved["attributes"].items():
        setattr(restored, name, value)
    assert [restored.success_rate(key) for key in keys] == [history.success_rate(key) for key in keys]
    assert restored.state() == history.state()


@given(first=st.text(), second=st.text())
def test_key_depends_on_all_of_the_text(first, second):
    assert (problem_key(first) == problem_key(second)) == (first == second)
    assert 0 <= problem_key(first) < 2**63


def test_key_of_messages_ignores_the_order_of_their_fields():
    message = {"role": "user", "content": "1+1="}
    other_order = {"content": "1+1=", "role": "user"}
    assert problem_key([message]) == problem_key([other_order])
    assert problem_key([message]) != problem_key([message, message])
    assert problem_key([message]) != problem_key("1+1=")


def test_key_is_the_same_on_every_process_and_in_every_run():
    assert problem_key("1+1=") == 0x9FFE8627F3749018 >> 1  # blake2b of 8 bytes
