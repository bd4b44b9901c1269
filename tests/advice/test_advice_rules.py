"""Rules of the advice: what each regime of the lab gets, thresholds that change it, and that nothing breaks them."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefix_rft_trl.advice.advice_rules import ADVISED, LABELS, MEND, SOLVED, UNKNOWN, Advice, advise
from prefix_rft_trl.advice.advised_changes import HIGH
from prefix_rft_trl.advice.limits import LIMITS, difference_interval, exceeds, reaches
from prefix_rft_trl.advice.probe_result import PROBED_RATIOS, Probed, ProbeResult, Share
from prefix_rft_trl.advice.regimes import FOREIGN, IMITABLE, UNCLEAR, UNLIKE_POLICY
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.utils.recipe_files import recipe_names


def solved(count: int, of: int) -> Probed:
    return Probed((1,) * count + (0,) * (of - count), (1,) * of)


@pytest.mark.parametrize(
    ("style", "regime", "method"),
    [
        ("worked", IMITABLE, "sft_then_rft"),
        ("corrupted", IMITABLE, "sft_then_rft"),
        ("brief", UNLIKE_POLICY, "prefix_rft"),
        ("swapped", FOREIGN, None),
        ("paired", FOREIGN, None),
    ],
)
def test_regimes_of_the_lab_are_told_apart(style, regime, method, probe_findings):
    advice = advise(probe_findings(style))
    assert (advice.regime, advice.method) == (regime, method)
    assert advice.outcome == (ADVISED if method else UNKNOWN)


CHANGED = {
    "unreadable answers": (MEND, None, {"readable_answers": Share(100, 512)}),
    "refused demonstrations": (MEND, None, {"accepted": Share(50, 512)}),
    "solved": (SOLVED, None, {"alone": Probed((8,) * 63 + (7,), (8,) * 64)}),
    "beyond the map": (UNKNOWN, None, {"alone": Probed((6,) * 64, (8,) * 64)}),
    "few demonstrations": (ADVISED, "hpt", {"demonstrated": Share(15, 512)}),
    "few, hardly any accepted": (UNKNOWN, None, {"demonstrated": Share(15, 512), "accepted": Share(179, 512)}),
    "few, not followed": (
        UNKNOWN,
        None,
        {"demonstrated": Share(15, 512), "continued": {0.5: solved(0, 96), 0.95: solved(0, 96)}},
    ),
    "hardly any, guessing": (UNKNOWN, None, {"demonstrated": Share(5, 512)}),
    "none, skilled": (ADVISED, "grpo", {"demonstrated": Share(0, 512), "alone": Probed((4,) * 64, (8,) * 64)}),
    "none, beyond the map": (ADVISED, "grpo", {"demonstrated": Share(0, 512), "alone": Probed((6,) * 64, (8,) * 64)}),
    "a tenth": (ADVISED, "sft_then_rft", {"demonstrated": Share(51, 512)}),
    "hardly any accepted": (UNKNOWN, None, {"accepted": Share(179, 512)}),
    "about as many as the lab has tried": (UNKNOWN, None, {"accepted": Share(205, 512)}),
    "never scored": (UNKNOWN, None, {"accepted": Share(0, 0)}),
    "none, some success": (UNKNOWN, None, {"demonstrated": Share(0, 512), "guess_rate": None}),
    "none, more than guesses": (ADVISED, "grpo", {"demonstrated": Share(0, 512), "guess_rate": 0.1}),
    "none, guesses": (UNKNOWN, None, {"demonstrated": Share(0, 512), "guess_rate": 0.18}),
    "not probed": (UNKNOWN, None, {"alone": Probed((), ())}),
    "too small a probe": (
        UNKNOWN,
        None,
        {"alone": solved(1, 4), "continued": {0.5: solved(2, 4), 0.95: solved(3, 4)}},
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_crossed_threshold_changes_the_advice(case, probe_findings):
    outcome, method, changes = CHANGED[case]
    advice = advise(probe_findings(**changes))
    assert (advice.outcome, advice.method) == (outcome, method)


def test_figures_that_decide_are_quoted(probe_findings):
    assert "0.20 (0.16 to 0.23, 100 of 512)" in advise(probe_findings(readable_answers=Share(100, 512))).why
    assert "0.10 (0.07 to 0.13, 50 of 512)" in advise(probe_findings(accepted=Share(50, 512))).why
    why = advise(probe_findings("brief")).why
    assert all(figure in why for figure in ("102 of 512", "116 of 288", "67 of 96", "5.4%", "docs/"))


def test_prefix_rft_needs_demonstrations_of_many_problems(probe_findings):
    assert advise(probe_findings("brief", demonstrated=Share(51, 512))).method is None


def falling(findings: ProbeResult, **changes: Any) -> dict[str, Any]:
    """Changes by which success falls behind the longest prefixes."""
    return {"continued": {**findings.continued, 0.95: solved(20, 96)}, **changes}


def test_long_prefixes_that_are_not_followed_are_left_out(probe_findings):
    (change,) = advise(probe_findings("brief", **falling(probe_findings("brief")))).changes
    assert (change.setting, change.value) == ("prefix_ratio_high", 0.75)
    assert "50 of 96" in change.reason
    assert advise(probe_findings("brief")).changes == ()


def test_shorter_prefixes_need_more_success_than_chance_gives(probe_findings):
    """A tenth is best by one success of 96: no reason to leave out all that is longer."""
    flat = {ratio: solved(count, 96) for ratio, count in zip(PROBED_RATIOS, (41, 40, 40, 40, 20), strict=True)}
    (change,) = advise(probe_findings("brief", continued=flat)).changes
    assert (change.setting, change.value) == ("prefix_ratio_high", 0.75)
    flat[0.75] = solved(15, 96)
    (change,) = advise(probe_findings("brief", continued=flat)).changes
    assert change.value == 0.5


def test_a_share_of_all_rows_has_no_interval(probe_findings):
    """60 of 200 are what there is: nothing was sampled that could have come out otherwise."""
    assert advise(probe_findings("brief", demonstrated=Share(60, 200))).method == "prefix_rft"
    assert advise(probe_findings("brief", demonstrated=Share(59, 200))).method is None


def test_success_that_falls_at_the_end_is_no_imitation(probe_findings):
    assert advise(probe_findings("worked", **falling(probe_findings("worked")))).method == "prefix_rft"


def test_prefixes_without_any_success_are_not_the_last_ones(probe_findings):
    changes = falling(probe_findings("brief"), alone=solved(0, 512))
    changes["continued"][0.1] = solved(0, 96)
    advice = advise(probe_findings("brief", **changes))
    assert advice.settings == {"prefix_ratio_low": 0.25, "prefix_ratio_high": 0.75}
    changes["continued"] |= {0.25: solved(0, 96)}
    changes["continued"] |= {ratio: solved(90, 96) for ratio in (0.5, 0.75)}
    assert advise(probe_findings("brief", **changes)).settings["prefix_ratio_low"] == 0.5


def test_answers_are_cut_off_prefixes_that_hold_them(probe_findings):
    holding = {0.1: Share(0, 64), 0.5: Share(1, 64), 0.75: Share(30, 64), 0.95: Share(60, 64)}
    advice = advise(probe_findings("brief", answer_in_prefix=holding))
    reasons = {change.setting: change.reason for change in advice.changes}
    assert "From 75%" in reasons["prefix_exclude_answer"]
    assert "30 of 64" in reasons["prefix_exclude_answer"]


def test_budget_is_raised_where_demonstrations_do_not_fit(probe_findings):
    changes = advise(probe_findings(fitting=Share(100, 512), demonstration_tokens=(44, 100))).changes
    assert {change.setting: change.value for change in changes}["max_completion_length"] == 128


def test_sft_ends_after_the_passes_of_the_lab(probe_findings):
    def steps(**changes: Any) -> dict[str, Any]:
        found = advise(probe_findings(**changes)).changes
        return {change.setting: change.value for change in found}

    assert steps() == {"sft.max_steps": 60}
    assert steps(max_steps=500, step_rows=256, demonstrated=Share(7473, 7473)) == {"sft.max_steps": 219}
    assert steps(max_steps=50, rollouts=3200) == {}
    epochs = {"max_steps": 934, "step_rows": 64, "demonstrated": Share(747, 7473)}
    assert steps(epochs=8, **epochs) == {"sft.max_steps": 88}, "8 passes over the demonstrations are 94 steps"
    assert steps(epochs=1, **epochs) == {}


def test_sft_ends_at_its_plateau_where_there_is_a_validation_split(probe_findings):
    advice = advise(probe_findings(validation_split="test[256:]"))
    assert advice.settings == {
        "sft.max_steps": 60,
        "sft.plateau_tolerance": 0.02,
        "sft.dataset_test_split": "test[256:]",
        "sft.eval_strategy": "steps",
        "sft.eval_steps": 5,
    }
    assert advise(probe_findings("brief", validation_split="test")).settings == {}


WARNED = {
    "small budget": ("1,000 rollouts", {"rollouts": 1000}),
    "few prefixes": ("about 80 groups", {"demonstrated": Share(51, 512)}),
    "corrupted": ("256 of 512", {"accepted": Share(256, 512)}),
    "one unreadable": ("1 of 512", {"readable_answers": Share(511, 512)}),
    "nothing solved": ("in 512 answers", {"alone": solved(0, 512)}),
    "cut off": ("cuts off", {"truncated": Share(200, 512)}),
    "guesses": ("may be guesses", {}),
}


@pytest.mark.parametrize("case", WARNED)
def test_warnings_name_their_figure(case, probe_findings):
    expected, changes = WARNED[case]
    assert any(expected in warning for warning in advise(probe_findings(**changes)).warnings)


def test_clean_findings_warn_of_nothing(probe_findings):
    assert advise(probe_findings(answer_tokens=(44,) * 512)).warnings == ()


def test_intervals_answer_and_do_not_guess():
    assert reaches(Share(90, 100), 0.5) is True
    assert reaches(Share(10, 100), 0.5) is False
    assert reaches(Share(5, 10), 0.5) is None
    assert reaches(Share(0, 0), 0.5) is None
    assert exceeds(Share(60, 100), Share(20, 100)) is True
    assert exceeds(Share(20, 100), Share(60, 100)) is False
    assert exceeds(Share(3, 5), Share(2, 5)) is None
    assert exceeds(Share(200, 1000), Share(200, 1000)) is False


def test_difference_of_shares_has_the_published_interval():
    """Newcombe (1998), Statistics in Medicine 17, Table II (a): 56 of 70 and 48 of 80, 0.0524 to 0.3339."""
    assert exceeds(Share(56, 70), Share(48, 80)) is True
    assert difference_interval(Share(56, 70), Share(48, 80)) == pytest.approx((0.0524, 0.3339), abs=1e-4)


# Whatever a probe finds


@st.composite
def shares(draw: st.DrawFn) -> Share:
    of = draw(st.integers(0, 2000))
    return Share(draw(st.integers(0, of)), of)


@st.composite
def tried(draw: st.DrawFn) -> Probed:
    tries = draw(st.lists(st.integers(0, 16), max_size=12))
    return Probed(tuple(draw(st.integers(0, most)) for most in tries), tuple(tries))


@st.composite
def read(draw: st.DrawFn) -> dict[str, Any]:
    """Tokens of demonstrations that were read."""
    lengths = draw(st.lists(st.integers(1, 8), max_size=8))
    logps = draw(st.lists(st.floats(-50, 0), min_size=sum(lengths), max_size=sum(lengths)))
    ends = [sum(lengths[:place]) for place in range(len(lengths))]
    firsts = tuple(logps[end] for end in ends)
    return {"token_logps": tuple(logps), "read_tokens": tuple(lengths), "first_token_logps": firsts}


LENGTHS = st.lists(st.integers(1, 20_000), max_size=8).map(tuple)
ANY_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "alone": tried(),
        "continued": st.dictionaries(st.sampled_from(PROBED_RATIOS), tried()),
        "num_generations": st.integers(2, 64),
        **{name: shares() for name in ("demonstrated", "accepted", "fitting", "readable_answers", "truncated")},
        "answer_in_prefix": st.dictionaries(st.sampled_from(PROBED_RATIOS), shares()),
        "token_entropies": st.just(()),
        "demonstration_tokens": LENGTHS,
        "answer_tokens": LENGTHS,
        "epochs": st.none() | st.floats(0.1, 100),
        "step_rows": st.none() | st.integers(1, 2048),
        "guess_rate": st.none() | st.floats(0, 0.99),
        "validation_split": st.sampled_from((None, "test")),
        "max_steps": st.none() | st.integers(1, 1000),
        "rollouts": st.none() | st.integers(1, 10**6),
    },
)
KNOWN = {field.name for field in fields(PrefixGRPOConfig)}


def test_methods_are_named_as_their_recipes():
    assert {f"lab/{method}" for method in LABELS} <= {*recipe_names()}


def check_advice(advice: Advice, result: ProbeResult) -> None:
    assert (advice.method is not None) == (advice.outcome == ADVISED)
    for method in (advice.method, advice.runner_up):
        assert method is None or method in LABELS
    sentences = [advice.why, *advice.would_change, *advice.warnings, *(change.reason for change in advice.changes)]
    assert advice.why
    assert advice.would_change
    assert not any("nan" in sentence.split() or "None " in sentence for sentence in sentences)
    for change in advice.changes:
        assert change.setting.removeprefix("sft.") in KNOWN | {"plateau_tolerance", "dataset_test_split"}
    settings_ = {change.setting: change.value for change in advice.changes}
    assert settings_.get("prefix_ratio_low", 0.05) <= settings_.get("prefix_ratio_high", HIGH)


@given(st.sampled_from(("worked", "swapped", "brief", "paired", "corrupted")), ANY_CHANGES, st.just({}) | read())
@settings(max_examples=200, deadline=None)
def test_any_findings_get_advice_with_reasons(probe_findings, style, changes, tokens):
    result = probe_findings(style, **changes, **tokens)
    check_advice(advise(result), result)


@given(ANY_CHANGES, st.integers(0, 512))
@settings(max_examples=50, deadline=None)
def test_broken_data_comes_first(probe_findings, changes, readable):
    result = probe_findings(**{**changes, "readable_answers": Share(readable, 512)})
    is_broken = reaches(Share(readable, 512), LIMITS.readable) is False
    accepted = changes.get("accepted", Share(512, 512))
    is_broken = is_broken or reaches(accepted, LIMITS.accepted) is False
    assert (advise(result).outcome == MEND) == is_broken


def test_more_tries_of_the_same_shares_never_make_it_less_certain(probe_findings):
    told = []
    for scale in (1, 4, 16, 64):
        alone, middle, end = solved(scale, 4 * scale), solved(2 * scale, 4 * scale), solved(4 * scale, 4 * scale)
        result = probe_findings(alone=alone, continued={0.5: middle, 0.95: end})
        told.append(advise(result).regime != UNCLEAR)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (False, True)


def test_limits_are_what_decides(probe_findings):
    strict = replace(LIMITS, enough=1000)
    assert advise(probe_findings(), strict).method == "hpt"
    assert advise(probe_findings(), replace(LIMITS, followed=0.99)).method != "sft_then_rft"
