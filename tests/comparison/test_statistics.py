import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.comparison.results import Experiment, Run
from prefix_rft_trl.comparison.statistics import (
    Budget,
    Cost,
    budget,
    cost_to_reach,
    cost_to_threshold,
    differing_settings,
    mean_curve,
    summarize,
    truncated_share,
)


accuracies = st.floats(0, 1, allow_subnormal=False)


def run(seed: int, *accuracies: float, **logged: list[float | None]) -> Run:
    curve = []
    for i, accuracy in enumerate(accuracies):
        line = {"step": 10 * i, "seconds": 2.5 * i, "accuracy": accuracy}
        line |= {"generated_tokens": 100 * i, "trained_tokens": 70 * i}
        curve.append(line | {key: values[i] for key, values in logged.items() if values[i] is not None})
    return Run(seed, curve)


def experiment(settings: dict, runs: list[Run] | None = None) -> Experiment:
    return Experiment("name", "recipe", settings, runs or [])


@given(st.lists(accuracies, min_size=1, max_size=12), accuracies)
def test_the_threshold_is_reached_at_its_first_measurement_and_equality_counts(values, threshold):
    reached = [i for i, value in enumerate(values) if value >= threshold]
    cost = cost_to_reach(run(0, *values), threshold)
    first = reached[0] if reached else None
    assert cost == (None if first is None else Cost(10 * first, 2.5 * first, 100 * first, 70 * first))


def test_seeds_that_never_reach_the_threshold_are_counted_and_do_not_enter_the_mean():
    runs = [run(0, 0.1, 0.9, 0.2), run(1, 0.1, 0.2, 0.3), run(2, 0.1, 0.2, 0.8)]
    found = cost_to_threshold(runs, 0.8)
    assert (found.reached, found.runs) == (2, 3)
    assert found.mean == Cost(step=15, seconds=3.75, generated_tokens=150, trained_tokens=105)
    assert cost_to_threshold(runs, 0.95).mean is None


def test_best_and_final_show_a_run_that_peaks_and_collapses():
    found = summarize(experiment({}, [run(0, 0.2, 0.9, 0.1), run(1, 0.3, 0.5, 0.7)]), 0.8)
    assert found.base == pytest.approx(0.25)
    assert found.final.mean == pytest.approx(0.4)
    assert found.best == pytest.approx(0.8)
    assert found.total == Cost(step=20, seconds=5, generated_tokens=200, trained_tokens=140)


@pytest.mark.parametrize(
    ("ends", "share"),
    [
        ([{"truncated": 0.2}, {"truncated": 0.4}], 0.3),
        ([{"length": 56.0}, {"length": 30.0}], 1.0),  # of earlier releases, where all were cut off
        ([{"length": 30.0}], None),
        ([{"length": 56.0, "truncated": 0.9}], 0.9),
    ],
)
def test_the_share_of_answers_that_were_cut_off_is_that_of_the_last_measurement(ends, share):
    runs = [
        Run(seed, [{"accuracy": 0.5, "truncated": 1.0}, {"accuracy": 0.5, **end}]) for seed, end in enumerate(ends)
    ]
    found = truncated_share(experiment({"measure_max_new_tokens": 56}, runs))
    assert found == (share if share is None else pytest.approx(share))


def test_measurements_of_no_problem_count_nowhere():
    unknown = run(0, 0.1, 0.0, 0.9, problems=[5, 0, 5])
    assert list(mean_curve([unknown], "accuracy")) == [0, 20]
    assert cost_to_reach(unknown, 0.0).step == 0
    assert summarize(experiment({}, [unknown, run(1, 0.5, 0.5, 0.0, problems=[5, 5, 0])]), 0.5).final.seeds == 1


def test_an_experiment_without_measurements_has_no_summary():
    assert summarize(experiment({}), 0.8) is None
    assert summarize(experiment({}, [Run(0, [])]), 0.8) is None


def test_a_mean_curve_has_the_steps_that_all_seeds_share():
    runs = [
        run(0, 0.1, 0.2, 0.3, entropy=[None, 1.0, 2.0]),
        run(1, 0.3, 0.4, 0.5, entropy=[None, 3.0, math.nan]),
    ]
    points = mean_curve(runs, "entropy")
    assert points.keys() == {10}
    assert points[10].mean == 2.0
    assert points[10].half_width == pytest.approx(12.706, rel=1e-4)  # standard error: sqrt(2 / 2)
    assert [point.mean for point in mean_curve(runs, "accuracy").values()] == pytest.approx([0.2, 0.3, 0.4])
    assert mean_curve([run(0, 0.1)], "prefix/length") == {}
    assert mean_curve([], "accuracy") == {}


def test_settings_differ_by_value_or_by_absence_but_not_by_where_outputs_go():
    experiments = [
        experiment({"output_dir": "a", "rft.output_dir": "x", "rate": 1, "seed": 0, "flag": True, "names": ["a"]}),
        experiment({"output_dir": "b", "rate": 1.0, "seed": 0, "flag": 1, "names": ["a"], "weight": None}),
    ]
    assert differing_settings(experiments) == ["flag", "weight"]
    assert differing_settings(experiments[:1]) == []


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)), min_size=1, max_size=4))
def test_differing_settings_are_those_of_which_two_experiments_disagree(settings):
    missing = object()
    expected = {
        name
        for name in "abcd"
        if any(one.get(name, missing) != other.get(name, missing) for one in settings for other in settings)
    }
    assert set(differing_settings([experiment(values) for values in settings])) == expected


RL = {"num_generations": 8, "per_device_train_batch_size": 64, "max_steps": 120}
SFT = {"trainer": "sft", "per_device_train_batch_size": 32, "max_steps": 9}
COMPLETE = {"prefix_ratio_schedule": "whole", "num_prefix_generations": 1}
STAGES = {f"{stage}.{name}": value for stage, own in (("sft", SFT), ("rft", RL)) for name, value in own.items()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (RL, Budget(960, 7680, 0)),
        ({name: value for name, value in RL.items() if name != "num_generations"}, Budget(960, 7680, 0)),
        (RL | {"num_prefix_generations": 1}, Budget(960, 7680, 0)),
        (RL | COMPLETE, Budget(960, 6720, 960)),
        (RL | COMPLETE | {"num_generations": 9, "per_device_train_batch_size": 72}, Budget(960, 7680, 960)),
        (RL | {"gradient_accumulation_steps": 2, "num_iterations": 4}, Budget(480, 3840, 0)),
        (SFT, Budget(0, 0, 288)),
        (STAGES, Budget(960, 7680, 288)),
        (RL | {"sft.trainer": "sft", "sft.max_steps": 60, "rft.num_generations": 4}, Budget(1920, 7680, 3840)),
        (RL | {"per_device_demonstration_batch_size": 4, "gradient_accumulation_steps": 2}, Budget(1920, 15360, 960)),
        (RL | {"prefix_stage_ratios": [0.5]}, None),
        (RL | COMPLETE | {"demonstration_source": "own"}, None),
        (RL | {"max_steps": -1, "num_train_epochs": 3}, None),
        ({"max_steps": 9}, None),
    ],
)
def test_the_budget_of_a_run_follows_from_its_settings(settings, expected):
    assert budget(settings) == expected
