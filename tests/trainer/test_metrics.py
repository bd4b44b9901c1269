import math
from dataclasses import replace

import pytest
import torch

from prefix_rft_trl.method.prefixes import NO_PREFIX, ON_POLICY, Assignment, Hint, Prefix
from prefix_rft_trl.metrics import (
    clipped_tokens,
    holds_answer,
    rollout_metrics,
    rollout_rows,
    token_metrics,
    token_sums,
)
from prefix_rft_trl.rollouts import RolloutBatch


NAN = float("nan")


@pytest.mark.parametrize("sampled", [True, False])
def test_token_metrics_without_any_prefix_are_left_out_of_the_log(sampled):
    entropies, nothing = torch.tensor([[0.5, 1.0, 3.0]]), torch.zeros(1, 3, dtype=torch.bool)
    sampled_mask = torch.tensor([[sampled, sampled, False]])
    found = token_metrics(token_sums(nothing, nothing, sampled_mask, entropies), rollouts=1)
    numbers = {name: value for name, value in found.items() if not math.isnan(value)}
    of_sampled = {"prefix/trained_token_share": 0.0, "policy_entropy": 0.75}
    assert numbers == {"prefix/trained_tokens": 0.0, **(of_sampled if sampled else {})}


def test_tokens_beyond_the_bound_that_their_advantage_pushes_to_are_clipped():
    ratios = torch.tensor([[0.7, 0.85, 1.05, 1.15, 1.25]])
    logps = ratios.log().expand(3, -1)
    found = clipped_tokens(logps, torch.zeros(3, 5), torch.tensor([2.0, -2.0, 0.0]), low=0.2, high=0.1)
    assert found.tolist() == [
        [False, False, False, True, True],
        [True, False, False, False, False],
        [False, False, False, False, False],
    ]
    assert not clipped_tokens(logps, None, torch.ones(3), low=0.2, high=0.1).any()


def test_rollout_metrics_are_what_their_names_say():
    rollouts = torch.tensor(
        [  # planned, given tokens, share, holds the answer, reaches into its statement, completion length,
            # of a prefix, of the demonstration
            [1, 10, 0.2, 1, 0, 50, 10, 50],
            [1, 30, 0.6, 0, 0, 40, 30, 50],
            [1, 20, 0.4, NAN, 1, 20, 0, 35],  # of a hint
            [1, 0, NAN, 0, 1, 7, 0, NAN],
            [0, 0, NAN, 0, NAN, 9, 0, NAN],
            [0, 0, NAN, NAN, NAN, 11, 0, NAN],
        ]
    )
    batch = RolloutBatch([], ratio_bounds=(0.1, 0.9), rewards=torch.tensor([1.0, 0.0, NAN, 1.0, NAN, 0.5]))
    found = rollout_metrics(batch, rollouts)
    assert found == pytest.approx(
        {
            "prefix/ratio_low": 0.1,
            "prefix/ratio_high": 0.9,
            "prefix/demonstration_share": 3 / 4,
            "prefix/ratio": 0.4,
            "prefix/length": 20,
            "prefix/demonstration_length": 45,
            "prefix/tokens": 40 / 6,
            "prefix/holds_answer": 1 / 2,
            "prefix/states_answer": 1 / 3,
            "prefix/reward_hybrid": 1 / 2,
            "prefix/reward_on_policy": 1.5 / 2,
            "completions/mean_length_on_policy": 9,
        }
    )


def test_rollout_metrics_without_hybrid_rollouts_are_left_out_of_the_log():
    batch = RolloutBatch([], ratio_bounds=(0.1, 0.9), rewards=torch.tensor([1.0, 0.0]))
    found = rollout_metrics(batch, torch.tensor([[0, 0, NAN, 0, NAN, 9, 0, NAN], [0, 0, NAN, 0, NAN, 11, 0, NAN]]))
    numbers = {name: value for name, value in found.items() if not math.isnan(value)}
    assert numbers == {
        "prefix/ratio_low": 0.1,
        "prefix/ratio_high": 0.9,
        "prefix/tokens": 0.0,
        "prefix/reward_on_policy": 0.5,
        "completions/mean_length_on_policy": 10,
    }


def test_rollout_rows_describe_each_rollout():
    hybrid = Assignment(planned=True, demonstration={"content": "so it is 42."}, ratio=0.9)
    prefix = Prefix([5, 6, 7], states_answer=0.0, share=0.25, demonstration_length=12)
    hint = replace(prefix, ids=[], hint=Hint([5, 6, 7], "1+1= it is 42", [1]))
    batch = RolloutBatch([hybrid, hybrid, ON_POLICY], prefixes=[prefix, hint, NO_PREFIX])
    found = rollout_rows(batch, ["it is 42", "it is 42", ""], ["42", "42", None], [[5, 6, 7, 8], [8, 9], [9]])
    assert found.dtype == torch.float32
    assert found.tolist()[:2] == [[1, 3, 0.25, 1, 0, 4, 3, 12], [1, 3, 0.25, 1, 0, 2, 0, 12]]
    assert found.tolist()[2] == pytest.approx([0, 0, NAN, NAN, NAN, 1, 0, NAN], nan_ok=True)


@pytest.mark.parametrize(
    ("prefix_text", "answer", "expected"),
    [
        ("so the answer is 42.", "42", 1),
        ("42", "42", 1),
        ("x=42;", "42", 1),
        (r"\boxed{42}", "42", 1),
        ("x = -42", "-42", 1),
        ("it is 142", "42", 0),
        ("it is 421", "42", 0),
        ("x42", "42", 0),
        ("it is 42.5", "42", 0),
        ("it is 3.42", "42", 0),
        ("it is 3.14", "3.14", 1),
        ("it is 3014", "3.14", 0),
        ("we start with 4", "42", 0),
        ("a cat sat", "cat", 1),
        ("we concatenate", "cat", 0),
        (r"thus \frac{1}{2} of it", r"\frac{1}{2}", 1),
        ("6 * 7 = 42", "6 * 7 is what we want\n#### 42", 1),
        ("6 * 7 is what we want", "6 * 7 is what we want\n#### 42", 0),
        ("(6 * 7=42)", "#### 42\n", 1),
        ("it is 42", 42, 1),
        ("it is 142", 42, 0),
        ("it is 0.5", 0.5, 1),
        ("it is 42", 42.0, 1),
        ("", "42", 0),
        ("It is known. ", "", 0),
        ("It is known. ", "#### ", 0),
        ("it is 42", None, NAN),
        ("it is 42", ["42"], NAN),
    ],
)
def test_prefix_that_holds_the_answer_is_recognized(prefix_text, answer, expected):
    assert holds_answer(prefix_text, answer) == pytest.approx(expected, nan_ok=True)
