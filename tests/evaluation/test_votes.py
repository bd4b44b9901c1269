"""maj@n: answers of the same meaning are one vote, by the equality of the verifier."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from types import SimpleNamespace

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.evaluation.benchmark import Answer, Benchmark
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.evaluation.scores import compute_scores
from prefix_rft_trl.evaluation.votes import MOST_COMPARED, majority_scores
from prefix_rft_trl.rewards import MathAccuracyReward, gsm8k_final_number
from prefix_rft_trl.rewards.registry import answer_finder


# The answers to one problem, its right answer, and the score of the majority, worked out by hand
BY_MEANING = [
    ("x=5 | 5.0 | 5 cm | 7 | 7", "5", 1),  # three votes in three spellings against two in one
    ("x=5 | 5.0 | 7 | 7 | 7", "5", 0),
    (r"\frac12 | 0.5 | 50\% | 2 | 2", "0.5", 1),
    ("(1, 2) | (2, 1) | (2,1)", "(1,2)", 0),  # a pair has an order, and spaces do not count
    (r"\{1, 2\} | \{2, 1\} | 3", "{1,2}", 1),
    (r"\sqrt{8} | 2\sqrt{2} | 3 | 3", r"2\sqrt 2", Fraction(1, 2)),  # two against two: a coin decides
    ("7 | 8 | 9", "8", Fraction(1, 3)),
    ("5 | | | ", "5", 1),  # those who state none do not vote
    (" | | ", "5", 0),
    ("A | (A) | B | B", "A", Fraction(1, 2)),
    ("1,234 | 1234 | 1235", "1234", 1),
    (r"x \mapsto 2x | x \mapsto 2x | 3", r"x \mapsto 2x", 1),  # not read as mathematics: as text
    ("10 | 10 pears | 10 apples | 9 | 9 | 9", "9", Fraction(1, 2)),  # 10 is both, which are not each other
]


@pytest.fixture(scope="module")
def reward():
    reward = MathAccuracyReward(num_workers=1)
    with reward.verifier:
        yield reward


def test_answers_vote_by_meaning(reward):
    """As an evaluation has them: from texts by way of samples to the score."""
    for answers, gold, expected in BY_MEANING:
        texts = [rf"So it is \boxed{{{answer.strip()}}}." if answer.strip() else "?" for answer in answers.split("|")]
        rows = Dataset.from_list([{"prompt": "?", "solution": gold}])
        benchmark = Benchmark("mine", rows, reward, Sampling(len(texts)))
        samples = benchmark.score(benchmark.chunks[0], [Answer([1], text, False) for text in texts])
        assert compute_scores(samples, reward).majority == pytest.approx(float(expected)), answers


def near(pairs: list[tuple[str, str]]) -> list[bool]:
    """An equality that is neither symmetric nor transitive: within 1 above the first."""
    return [0 <= int(other) - int(one) <= 1 for one, other in pairs]


def close(pairs: list[tuple[str, str]]) -> list[bool]:
    """Symmetric, and not transitive."""
    return [abs(int(other) - int(one)) <= 1 for one, other in pairs]


@pytest.mark.parametrize(
    ("answers", "equal", "expected"),
    [
        ("1 2 3", near, (1 + 2 + 3) / 3),  # never in both directions
        ("1 2 3", close, (1 + 2) / 2),  # 1 takes 2, which 3 would have taken too
        ("3 2 1", close, (3 + 2) / 2),  # the order of appearance decides
        ("1 2 3 3", close, (2 + 3 + 3) / 3),  # the most frequent represents the first class
        ("1 2 3 4 4 3", close, (2 + 3 + 3 + 4 + 4) / 5),
    ],
)
def test_classes_are_defined_by_an_order(answers, equal, expected):
    votes = answers.split()
    assert majority_scores([votes], [[float(vote) for vote in votes]], equal) == pytest.approx([expected])


@given(st.lists(st.lists(st.tuples(st.integers(0, 7), st.sampled_from([0.0, 1.0])), max_size=9), max_size=3))
def test_no_comparison_is_left_out_that_would_change_a_score(problems):
    """Against the definition, which compares all: equal are numbers with the same remainder by 3."""

    def by_definition(votes: list[tuple[int, float]]) -> float:
        classes = [[reward for vote, reward in votes if vote % 3 == rest] for rest in range(3)]
        means = [sum(group) / len(group) for group in classes if group and len(group) == max(map(len, classes))]
        return sum(means) / len(means) if means else 0.0

    def equal(pairs: list[tuple[str, str]]) -> list[bool]:
        assert len(set(pairs)) == len(pairs)
        assert all(one != other for one, other in pairs), "the same spelling needs no comparison"
        return [int(one) % 3 == int(other) % 3 for one, other in pairs]

    answers = [[str(vote) for vote, _ in votes] for votes in problems]
    found = majority_scores(answers, [[reward for _, reward in votes] for votes in problems], equal)
    assert found == pytest.approx([by_definition(votes) for votes in problems])


def counting(asked: list[int]) -> Callable[[list[tuple[str, str]]], list[bool]]:
    def equal(pairs: list[tuple[str, str]]) -> list[bool]:
        asked.append(len(pairs))
        return [False] * len(pairs)

    return equal


@pytest.mark.parametrize(
    ("answers", "rewards", "most"),
    [
        (["9"] * 12 + ["4", "5"], [1.0] * 12 + [0.0] * 2, 2),  # the first class has won
        ([str(n) for n in range(64)], [0.0] * 64, 0),  # whoever wins is wrong
        ([str(n) for n in range(500)], [1.0] + [0.0] * 499, MOST_COMPARED * (MOST_COMPARED - 1) // 2),
    ],
)
def test_few_comparisons_decide(answers, rewards, most):
    asked: list[int] = []
    majority_scores([answers], [rewards], counting(asked))
    assert sum(asked) <= most


def test_what_takes_too_long_to_compare_is_compared_once():
    asked: list[tuple[str, str]] = []

    def equal(pairs: list[tuple[str, str]]) -> list[bool | None]:
        asked.extend(pairs)
        return [None if "slow" in pair[1] else False for pair in pairs]

    slow = [f"slow{n}" for n in range(9)]
    assert majority_scores([["1", *slow, "2", "2"]], [[1.0, *[0.0] * 9, 1.0, 1.0]], equal) == [1.0]
    assert all([other for _, other in asked].count(answer) == 1 for answer in slow)


def test_each_pair_needs_a_result():
    with pytest.raises(ValueError, match="`equal_answers` of the reward gives 1 results for 2 pairs"):
        majority_scores([["1", "2", "3"]], [[1.0, 0.0, 0.0]], lambda pairs: [False])


@pytest.mark.parametrize(
    ("reward", "text", "answer"),
    [
        (MathAccuracyReward(), r"\boxed{5}", "5"),
        (MathAccuracyReward(answer_markers=["so"]), "so 5", "5"),
        (MathAccuracyReward(), "5", None),
        (gsm8k_final_number, "3 apples and 1,005.", "1005.0"),
        (gsm8k_final_number, "none", None),
        (SimpleNamespace(answer_markers=[]), r"\boxed{5}", "5"),
        (SimpleNamespace(final_answer=str.upper, answer_markers=[]), "a", "A"),
    ],
)
def test_a_reward_says_how_answers_are_found(reward, text, answer):
    assert answer_finder(reward)(text) == answer


@pytest.mark.parametrize("reward", [lambda completions: [], SimpleNamespace(final_answer="no function")])
def test_a_reward_that_does_not_say_it_has_no_finder(reward):
    assert answer_finder(reward) is None


@pytest.mark.parametrize(("gold", "response"), product(["so 5 #### 5", None, "no number"], ["5", "6", ""]))
def test_a_missing_number_is_wrong_in_a_response_and_unknown_in_a_row(gold, response):
    expected = float(response == "5") if gold == "so 5 #### 5" else None
    assert gsm8k_final_number(completions=[response], answer=[gold]) == [expected]
