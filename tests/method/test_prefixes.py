import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.prefixes import assign, is_hybrid, prefix_length, token_noise
from prefix_rft_trl.sampling.hybrid import prepend, within


DEMONSTRATIONS = [{"role": "assistant", "content": text} for text in ("first", "second", "third")]


@given(ratio=st.floats(0, 1), demonstration_length=st.integers(0, 20_000), budget=st.integers(0, 20_000))
@example(ratio=1.0, demonstration_length=100, budget=100)
@example(ratio=0.0, demonstration_length=2, budget=2)
@example(ratio=0.25, demonstration_length=10_000, budget=100)
@example(ratio=0.5, demonstration_length=101, budget=20_000)
@example(ratio=0.5, demonstration_length=1, budget=100)
@example(ratio=0.5, demonstration_length=100, budget=1)
def test_prefix_is_the_drawn_share_of_what_fits_and_leaves_a_token_to_sample(ratio, demonstration_length, budget):
    available = min(demonstration_length, budget)
    drawn = min(max(math.floor(ratio * available), 1), available - 1)
    assert prefix_length(ratio, demonstration_length, budget) == (drawn if available > 1 else 0)


def draw(seed: int = 7, step: int = 3, row: int = 5) -> tuple[str, float]:
    found = assign(DEMONSTRATIONS, (seed, step, row), (0.0, 1.0))
    assert found.planned
    assert found.demonstration is not None
    return found.demonstration["content"], found.ratio


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_draw_ignores_the_global_random_states():
    drawn = []
    for seed in (0, 1):
        seed_everything(seed)
        drawn.append(draw())
    assert drawn[0] == drawn[1]


def test_draw_leaves_the_global_random_states_alone():
    states = []
    for call in (lambda: None, draw):
        seed_everything(0)
        call()
        states.append((random.random(), np.random.random(), torch.rand(1)))
    assert states[0] == states[1]


@pytest.mark.parametrize("coordinate", ["seed", "step", "row"])
def test_draw_differs_over_seeds_steps_and_rows(coordinate):
    assert len({draw(**{coordinate: value})[1] for value in range(200)}) == 200


def distance_from_uniform(values: list[float], low: float, high: float) -> float:
    """Kolmogorov-Smirnov statistic times the root of the number of values: above 1.63 once in a hundred times."""
    expected = np.linspace(0, 1, len(values))
    return float(np.abs((np.sort(values) - low) / (high - low) - expected).max() * math.sqrt(len(values)))


@pytest.mark.parametrize("coordinate", ["step", "row"])
def test_ratios_are_uniform_between_the_bounds(coordinate):
    keys = ((0, value, 0) if coordinate == "step" else (0, 0, value) for value in range(2000))
    ratios = [assign(DEMONSTRATIONS, key, ratio_bounds=(0.3, 0.95)).ratio for key in keys]
    assert min(ratios) >= 0.3
    assert max(ratios) <= 0.95
    assert distance_from_uniform(ratios, 0.3, 0.95) < 1.63


def test_several_demonstrations_are_drawn_equally_often_at_every_ratio():
    drawn = [draw(seed=0, row=row) for row in range(3000)]
    counts = Counter(content for content, _ in drawn)
    assert sorted(counts) == ["first", "second", "third"]
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 9.21  # chi-squared, one in a hundred
    for content in counts:
        assert distance_from_uniform([ratio for found, ratio in drawn if found == content], 0, 1) < 1.63


def test_row_without_a_demonstration_is_planned_but_on_policy():
    found = assign([], key=(0, 0, 0), ratio_bounds=(0.05, 0.95))
    assert found.planned
    assert found.demonstration is None


def test_group_that_straddles_two_processes_has_its_hybrid_rollouts():
    processes, rows_each, num_generations = 3, 4, 6
    hybrid = [
        [is_hybrid(process * rows_each + row, num_generations, 2) for row in range(rows_each)]
        for process in range(processes)
    ]
    assert hybrid == [[True, True, False, False], [False, False, True, True], [False] * 4]


ids = st.lists(st.integers(0, 9), max_size=8)


@given(rows=st.lists(st.tuples(ids, ids, st.integers(0, 8)), max_size=4))
def test_splice_keeps_every_token_in_order_up_to_the_budget(rows):
    before, after, budgets = ([row[place] for row in rows] for place in range(3))
    spliced = prepend(before, within(budgets, after))
    assert spliced == [given + sampled[:budget] for given, sampled, budget in rows]


def test_splice_of_unequal_numbers_of_rows_is_an_error():
    with pytest.raises(ValueError, match="shorter"):
        prepend([[1], [2]], [[3]])


def test_noise_of_a_prefix_token_depends_on_its_rollout_and_place_alone():
    assignments = [assign([{"content": "a"}], (3, 5, row), (0.0, 1.0)) for row in range(400)]
    lengths = [row % 30 for row in range(400)]
    noise = token_noise(assignments, torch.tensor(lengths), 40).numpy()
    assert noise.shape == (400, 40)
    shown = noise[np.arange(40) < np.array(lengths)[:, None]]
    assert not noise[np.arange(40) >= np.array(lengths)[:, None]].any()
    assert len(np.unique(shown)) > 0.999 * len(shown)
    gaps = np.abs(np.sort(shown) - np.linspace(0, 1, len(shown)))
    assert gaps.max() < 1.63 / math.sqrt(len(shown))  # Kolmogorov-Smirnov, 1%
    # The same in another batch, another order and with another width, and not what the prefix was drawn from
    alone = token_noise([assignments[17]], torch.tensor([12]), 12).numpy()
    assert np.array_equal(alone[0], noise[17, :12])
    assert assignments[17].ratio not in alone
