"""Which groups take part in a stage, which rows it samples, and what they replace: by tables and for any rewards."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.stages.stage_rules import Stage, StageRules, other_row, rows_by_process, stage_assignment


NAN = math.nan


def rules(*stages: tuple[float, int, float], group: int = 4, **others) -> StageRules:
    return StageRules(tuple(Stage(*stage) for stage in stages), group, **others)


TRAPO = rules((0.25, 2, 0.49), (0.5, 1, 0.66), (1, 1, 0.99), group=8, replaces="none")
GHPO = rules((0.25, 4, 0.0), (0.5, 4, 0.25))
SCAF = rules((0.25, 2, 0.0), (0.5, 2, 0.0), replaces="rollout")
DAPO = rules((0, 4, 0.0), groups="equal")


@pytest.mark.parametrize(
    ("of", "index", "rewards", "due"),
    [
        (GHPO, 0, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0.9, 0], [0, 2]),
        (GHPO, 1, [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0], [0, 1]),  # a quarter is at the threshold, a half above it
        (GHPO, 0, [NAN, NAN, NAN, NAN, NAN, 1, NAN, NAN, NAN, 0, 0, 0], [0, 2]),  # no score is no success
        (rules((0.5, 10, 0.3), group=10), 0, [1] * 3 + [0] * 7, [0]),  # 3 of 10 are 0.3, not a little more
        (TRAPO, 0, [1, 1, 0, 0, *[NAN] * 4, 1, 0, 0, 0, *[NAN] * 4], [1]),  # 2 of 4, and 1 of 4
        (TRAPO, 1, [1, 1, 1, 0, 0, 1, *[NAN] * 2, 1, 0, 0, 0, 1, 1, *[NAN] * 2], [1]),  # 4 of 6, and 3 of 6
        (TRAPO, 2, [1, 1, 1, 1, 1, 1, 1, NAN, 1, 1, 1, 1, 1, 1, 0, NAN], [1]),  # 7 of 7, and 6 of 7
        (DAPO, 0, [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0.5, 0.5, 0.5, 0.5], [0, 1, 3]),
        (DAPO, 0, [NAN, NAN, NAN, NAN, NAN, 1, 1, 1, NAN, 1, 0, 1], [0, 1]),
    ],
)
def test_groups_of_a_stage(of, index, rewards, due):
    assert of.due_groups(index, torch.tensor(rewards)) == due


def test_rows_of_the_passes():
    assert TRAPO.first_rows(2) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert [TRAPO.stage_rows(index, [0, 1]) for index in range(3)] == [[4, 5, 12, 13], [6, 14], [7, 15]]
    assert GHPO.first_rows(2) == list(range(8))
    assert GHPO.stage_rows(1, [0, 2]) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert SCAF.stage_rows(0, [1, 2]) == [4, 4, 8, 8]


@pytest.mark.parametrize(
    ("of", "rows", "rewards", "accepted"),
    [
        (SCAF, [4, 4, 8, 8], [0, 1, 1, 1], {4: 1, 8: 2}),  # the first success, in the place of the first row
        (SCAF, [4, 4, 8, 8], [0, 0.9, NAN, 0], {}),
        (GHPO, [0, 1, 2, 3], [0, 0, 0, 0], {0: 0, 1: 1, 2: 2, 3: 3}),  # without a success too
        (TRAPO, [4, 5, 12, 13], [0, 0, 1, 1], {4: 0, 5: 1, 12: 2, 13: 3}),
    ],
)
def test_what_is_replaced(of, rows, rewards, accepted):
    assert of.accepted(rows, torch.tensor(rewards)) == accepted


@pytest.mark.parametrize(
    ("bound", "sampled", "kept"),
    [(None, 100, [3, 5, 6]), (12, 0, [3, 5, 6]), (11, 0, [3, 5]), (11, 4, [3]), (11, 8, []), (3, 8, [])],
)
def test_bound_on_extra_rollouts(bound, sampled, kept):
    assert rules((0.5, 4, 0.0), max_rollouts=bound).within_bound(0, [3, 5, 6], sampled) == kept


MESSAGES = [{"role": "assistant", "content": text} for text in "abc"]


def test_demonstration_of_a_group_is_the_same_in_every_stage():
    drawn = set()
    for step in range(20):
        keys = (3, step, 8), (3, step, 11)
        first, longer, whole = (stage_assignment(MESSAGES, ratio, *keys, "7") for ratio in (0.25, 0.5, 1))
        assert first.demonstration == longer.demonstration
        assert MESSAGES.index(whole.demonstration) == (MESSAGES.index(first.demonstration) + 1) % 3
        assert (first.ratio, longer.ratio, whole.ratio) == (0.25, 0.5, 1)
        assert (first.is_whole, longer.is_whole, whole.is_whole) == (False, False, True)
        assert (first.planned, first.key, first.answer) == (True, (3, step, 11), "7")
        drawn.add(first.demonstration["content"])
    assert drawn == {*"abc"}
    only = stage_assignment(MESSAGES[:1], 1, (0, 0, 0), (0, 0, 0), None)
    assert only.demonstration == MESSAGES[0]


def test_stage_without_a_prefix_or_a_demonstration():
    plain, missing = (stage_assignment(*args, (0, 1, 4), (0, 1, 5), None) for args in ((MESSAGES, 0), ([], 0.5)))
    assert plain.demonstration is None is missing.demonstration
    assert (plain.planned, missing.planned) == (False, True)


def test_other_problems_depend_on_seed_step_stage_and_group():
    keys = [(1, 2, 0), (2, 2, 0), (1, 3, 0), (1, 2, 4)]
    rows = [other_row(key, index, 10**6) for key in keys for index in (0, 1)]
    assert rows == [other_row(key, index, 10**6) for key in keys for index in (0, 1)]
    assert len({*rows}) == 8


@given(st.data())
def test_any_batch(data):
    """Whatever is sampled: rows are of their groups, every process has its own, and the bound holds."""
    group, groups, processes = 4, data.draw(st.sampled_from([1, 2, 3, 6])), data.draw(st.sampled_from([1, 2, 4]))
    replaces = data.draw(st.sampled_from(["group", "rollout", "none"]))
    generations = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    if replaces == "none":
        generations = [1] * len(generations)
    if replaces == "group":
        generations = [group] * len(generations)
    bound = data.draw(st.none() | st.integers(group, 20))
    made = rules(*((0.5, number, 0.0) for number in generations), replaces=replaces, max_rollouts=bound)
    seen = made.first_rows(groups)
    extra = 0
    for index in range(len(generations)):
        rewards = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=12, max_size=12)))
        rewards = rewards.repeat(groups)[: group * groups]
        due = made.due_groups(index, rewards)
        for number, of_group in enumerate(rewards.view(groups, group).tolist()):
            assert (number in due) == (1.0 not in of_group[: made.rows_before(index)])
        chosen = made.within_bound(index, due, extra)
        assert chosen == due[: len(chosen)]
        rows = made.stage_rows(index, list(range(groups)) if replaces == "none" else chosen)
        extra += 0 if replaces == "none" else len(rows)
        seen += rows if replaces == "none" else []
        shares = rows_by_process(rows, group * groups // processes or 1, processes)
        assert sorted(place for share in shares for place in share) == list(range(len(rows)))
        assert {made.group_of(row) for row in rows} <= {*range(groups)}
    assert sorted(seen) == list(range(group * groups))
    assert bound is None or extra <= bound
