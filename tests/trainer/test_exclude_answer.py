"""Real runs in which no rollout starts with the answer."""

import pytest


LONG = {"prefix_ratio_low": 0.95, "max_completion_length": 56}


@pytest.fixture
def run(train):
    return lambda **settings: train(**{**LONG, **settings})


@pytest.fixture
def rows_ending_in(lab_rows):
    """The lab's problems, the answer of their demonstrations, `#9`, replaced by `ending.format(9)`."""
    return lambda ending: lab_rows(completion=lambda text: text.rpartition("#")[0] + ending.format(text[-1]))


# GSM8K's mark, which the lab's tokenizer has too; and no mark, but the right answer, in the middle of the last part
@pytest.mark.parametrize(
    ("ending", "answer_at", "remove_unused_columns"),
    [("####{}", 0, False), ("{};;;;;;", 0, False), ("{};;;;;;", 0, True), ("##;{};;;", 3, False)],
)
def test_rollouts_start_from_the_answer_only_where_that_is_allowed(
    run, rows_ending_in, ending, answer_at, remove_unused_columns
):
    rows = rows_ending_in(ending)
    answer_starts = len(rows["completion"][0]) - len(ending.format("9")) + answer_at
    settings = {"train_dataset": rows, "remove_unused_columns": remove_unused_columns}
    allowing, excluding = run(**settings), run(**settings, prefix_exclude_answer=True)
    assert allowing.logged("prefix/states_answer") == [1.0, 1.0]
    assert all(max(generation.prefix_lengths) > answer_starts for generation in allowing.generations)
    assert excluding.logged("prefix/states_answer") == [0.0, 0.0]
    assert excluding.logged("prefix/demonstration_share") == [1.0, 1.0]
    for generation in excluding.generations:
        assert [length for length in generation.prefix_lengths if length] == [answer_starts] * 2


def test_demonstration_that_starts_with_its_answer_leaves_its_rollout_on_policy(run, lab_rows, rows_ending_in):
    texts = rows_ending_in("####{}")["completion"]
    rows = lab_rows(completion=[text if place % 2 else "####9;" for place, text in enumerate(texts)])
    found = run(train_dataset=rows, prefix_exclude_answer=True, per_device_train_batch_size=64)
    for generation in found.generations:
        hybrid = [length > 0 for length in generation.prefix_lengths[::4]]
        assert hybrid == [row["completion"] != "####9;" for row in generation.inputs[::4]]
        assert sum(hybrid) == 8
    assert found.logged("prefix/demonstration_share") == [0.5, 0.5]
    assert found.logged("prefix/states_answer") == [0.0, 0.0]
