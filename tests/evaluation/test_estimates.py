"""avg@k, pass@k, maj@k by spelling and paired differences, against what they are by definition."""

import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_rel

from prefix_rft_trl.evaluation.eval_report import (
    COLUMNS,
    differences,
    differences_table,
    notes_on_scores,
    scores_table,
)
from prefix_rft_trl.evaluation.samples import Sample
from prefix_rft_trl.evaluation.scores import (
    Scores,
    compute_scores,
    over_problems,
    paired_difference,
    pass_at_k,
)
from prefix_rft_trl.evaluation.votes import majority_scores


@given(
    st.integers(1, 7).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=3)
    )
)
def test_pass_at_k_is_the_share_of_all_choices_of_samples_that_hold_a_right_one(problems):
    n = len(problems[0])
    found = pass_at_k(n, [sum(problem) for problem in problems])
    assert found.shape == (len(problems), n)
    for problem, of_problem in zip(problems, found, strict=True):
        for k in range(1, n + 1):
            choices = [any(choice) for choice in combinations(problem, k)]
            assert abs(of_problem[k - 1] - Fraction(sum(choices), len(choices))) < 1e-14


@pytest.mark.parametrize("right", [0, 1, 2, 3, 17, 300, 1024, 2000, 2047, 2048])
def test_pass_at_k_of_2048_samples_is_exact(right):
    n = 2048
    (found,) = pass_at_k(n, [right])
    for k in (*range(1, n, 61), 2, 8, 64, 512, 1024, n - 1, n):
        exact = 1 - Fraction(math.comb(n - right, k), math.comb(n, k))
        assert abs(found[k - 1] - exact) < 1e-12


@pytest.mark.parametrize(("samples", "right"), [(4, [5]), (4, [0, -1]), (0, [0])])
def test_more_right_samples_than_there_are_is_an_error(samples, right):
    with pytest.raises(ValueError, match="are right, found"):
        pass_at_k(samples, right)


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=9))
def test_the_majority_is_of_those_who_answer_and_ties_share(answers):
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    leading = [answer for answer, number in votes.items() if number == most]
    expected = leading.count("b") / len(leading) if leading else 0
    assert majority_scores([answers], [[float(answer == "b") for answer in answers]], None) == [expected]


def test_of_an_answer_about_which_the_verifier_contradicts_itself_the_mean_counts():
    found = majority_scores([["9", "9", "9", "4"]], [[1, 1, 0, 0]], None)
    assert found == pytest.approx([2 / 3], abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 32), st.integers(0, 32)), min_size=2, max_size=30))
def test_the_interval_of_a_difference_is_that_of_the_paired_t_test(problems):
    first, second = ([right / 32 for right in of_model] for of_model in zip(*problems, strict=True))
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(sum(second) / len(second) - sum(first) / len(first), abs=1e-14)
    if len({after - before for before, after in zip(first, second, strict=True)}) > 1:
        exact = ttest_rel(second, first).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1e-12)
    else:
        assert found.half_width is None


@pytest.mark.parametrize(
    ("first", "second", "text", "reason"),
    [
        ([0.5, 0.25, 1.0], [0.5, 0.25, 1.0], "+0.0", "both models are alike on every problem"),
        ([0.0] * 6, [1.0] * 6, "+100.0", "the difference is the same on every problem"),
        ([2 / 3, 1 / 3], [1 / 3, 0.0], "-33.3", "the difference is the same on every problem"),  # but for rounding
        ([0.5], [1.0], "+50.0", "one problem tells none"),
        ([0.0] * 4, [1.0, 1.0, 1.0, 0.0], "+75.0 (-4.6 to +100.0)", None),  # 3.182 x 0.5 / sqrt(4) is 79.6
        ([1.0, 1.0, 1.0, 0.0], [0.0] * 4, "-75.0 (-100.0 to +4.6)", None),
        ([0.0, 1.0] * 200, [0.5, 0.75] * 200, "+12.5 ± 3.7", None),
    ],
)
def test_a_difference_has_an_interval_within_its_bounds_or_the_reason_why_not(tmp_path, first, second, text, reason):
    for name, shares in (("one", first), ("other", second)):
        scores = replace(
            compute_scores(SAMPLES[:3], READS_ANSWERS),
            problems=len(shares), problem_accuracies=shares, problem_indices=[*range(len(shares))],
        )  # fmt: skip
        folder = tmp_path / name / "lab"
        folder.mkdir(parents=True)
        (folder / "figures.json").write_text(json.dumps(scores.as_json()))
        (folder / "settings.json").write_text("{}")
    (found,) = differences(tmp_path / "one", tmp_path / "other")
    assert differences_table("one", "other", [found]).rows[0][3] == text
    assert found.notes == ([f"No interval on lab: {reason}."] if reason else [])


def test_problems_that_are_all_alike_have_no_interval():
    assert over_problems([1.0, 1.0, 1.0]).half_width is None
    assert over_problems([1.0, 1.0, 0.5]).half_width > 0


def test_a_difference_of_models_with_other_problems_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([0.5, 0.25], [0.5])


def sample(problem: int, number: int, answer: str | None, reward: float | None, tokens: int, cut: bool) -> Sample:
    return Sample(problem, number, f"so {answer}", answer, reward, tokens, cut)


SAMPLES = [
    sample(0, 0, "9", 1.0, 10, False),
    sample(0, 1, "9", 1.0, 20, False),
    sample(0, 2, "4", 0.0, 30, False),
    sample(1, 0, "x", None, 7, True),  # the right answer cannot be read
    sample(1, 1, None, None, 7, False),
    sample(1, 2, "y", None, 7, False),
    sample(2, 0, None, 0.0, 50, True),
    sample(2, 1, "5", 1.0, 40, False),
    sample(2, 2, "6", 0.0, 29, False),
    sample(3, 0, "1", 0.0, 1, False),
    sample(3, 1, "1", 0.0, 2, True),
    sample(3, 2, "2", 0.0, 3, False),
]


READS_ANSWERS = SimpleNamespace(__name__="reads", answer_markers=("#",))


def test_figures_are_those_of_a_computation_by_hand():
    found = compute_scores(SAMPLES, READS_ANSWERS)
    assert (found.problems, found.unscored, found.num_samples) == (3, 1, 3)
    assert found.problem_accuracies == [2 / 3, 1 / 3, 0]
    assert found.problem_indices == [0, 2, 3]
    assert found.mean.mean == pytest.approx(1 / 3)
    # Deviations of 1/3, 0 and -1/3 from the mean: a variance of 1/9 between 3 problems
    assert found.mean.half_width == pytest.approx(t.ppf(0.975, 2) * math.sqrt((1 / 9) / 3))
    assert found.pass_at_k == pytest.approx([1 / 3, (1 + 2 / 3 + 0) / 3, 2 / 3])
    assert found.majority == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.answered == pytest.approx(10 / 12)
    assert found.truncated == pytest.approx(3 / 12)
    assert found.mean_tokens == pytest.approx(206 / 12)
    assert found.unknown == {}
    assert Scores.from_json(found.as_json()) == found


@pytest.mark.parametrize(
    ("rewards", "text"),
    [
        ([0.0] * 30, "0.0 (0.0 to 11.4)"),  # Wilson's interval of 0 of 30
        ([1.0] * 30, "100.0 (88.6 to 100.0)"),
        ([0.0], "0.0 (0.0 to 79.3)"),
        ([0.0, 1.0] * 200, "50.0 ± 4.9"),  # 1.966 x 0.5006 / sqrt(400)
        ([1 / 2048] * 20 + [0.0] * 20, "0.024 ± 0.008"),  # 2.023 x 0.000247 / sqrt(40)
        ([1.0] + [0.0] * 9, "10.0 (1.3 to 47.7)"),  # of 6.76 draws, which have ± 22.6; that would leave it
    ],
)
def test_the_interval_of_a_share_stays_within_its_bounds(rewards, text):
    found = compute_scores([sample(n, 0, "1", one, 1, False) for n, one in enumerate(rewards)], READS_ANSWERS)
    assert scores_table({"model": {"lab": found}}, []).rows[0][4] == text
    written = found.as_json()["mean"]
    assert 0 <= written["low"] <= written["mean"] <= written["high"] <= 1
    if "(" in text:
        assert f"({100 * written['low']:.1f} to {100 * written['high']:.1f})" in text


@pytest.mark.parametrize(
    ("samples", "reward", "unknown"),
    [
        (SAMPLES, SimpleNamespace(__name__="mine"), {"majority", "answered"}),
        (SAMPLES[3:6], READS_ANSWERS, {"mean", "pass_at_k", "majority"}),  # no reward at all
        (SAMPLES[3:6], SimpleNamespace(__name__="mine"), {"mean", "pass_at_k", "majority", "answered"}),
        (SAMPLES[6:8], READS_ANSWERS, set()),  # one problem
        (SAMPLES[6:7], READS_ANSWERS, set()),  # one sample, without an answer: that is a wrong one
    ],
)
def test_what_is_unknown_is_null_with_a_reason_and_never_0(samples, reward, unknown):
    found = compute_scores(samples, reward)
    written = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert {name for name, value in written.items() if value is None} == written["unknown"].keys() == unknown
    assert all(reward.__name__ in reason for reason in written["unknown"].values())
    assert Scores.from_json(written) == found
    table = scores_table({"model": {"lab": found}}, [1, 99])
    cells = dict(zip(table.header, table.rows[0], strict=True))
    dashes = {COLUMNS[name] for name in unknown} | ({"pass@1"} if "pass_at_k" in unknown else set())
    assert {name for name, cell in cells.items() if cell == "-"} == dashes - {"pass@k"} | {"pass@99"}
    notes = notes_on_scores({"model": {"lab": found}}, [1, 99])
    assert all(note.startswith("model on lab: ") for note in notes)
    assert all(
        any(COLUMNS[name] in note and reason in note for note in notes) for name, reason in found.unknown.items()
    )
    assert f"pass@99 unknown: n is {found.num_samples}" in notes[-1]


def test_of_how_many_problems_the_figures_are_stands_in_the_table_and_under_it():
    evaluated = {name: {"lab": compute_scores(SAMPLES, READS_ANSWERS)} for name in ("one", "other")}
    assert [row[2] for row in scores_table(evaluated, []).rows] == ["3 of 4"] * 2
    (note,) = notes_on_scores(evaluated, [])
    assert note.startswith("one on lab, other on lab: the figures are of 3 of 4 problems")
