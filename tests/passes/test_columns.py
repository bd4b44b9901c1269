"""Columns of rows, cut and put back, against Python lists."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from prefix_rft_trl.passes.columns import PassColumns, put_back, row_lengths
from prefix_rft_trl.passes.positions import ignores_left_padding, ignores_width


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=5))
def test_row_lengths_are_those_of_the_mask(lengths):
    mask = torch.tensor([[0] * (4 - p) + [1] * p + [1] * c + [0] * (6 - c) for p, c in lengths])
    assert row_lengths(mask, 6).tolist() == [list(row) for row in lengths]


def test_a_hole_in_a_row_is_part_of_it():
    assert row_lengths(torch.tensor([[0, 1, 0, 1, 0, 1, 0]]), 3).tolist() == [[3, 2]]


@pytest.mark.parametrize(
    ("columns", "multiple", "rounded"),
    [
        (PassColumns(3, 5), None, PassColumns(3, 5)),
        (PassColumns(0, 0), None, PassColumns(1, 1)),
        (PassColumns(3, 5), 4, PassColumns(4, 8)),
        (PassColumns(8, 8), 4, PassColumns(8, 8)),
        (PassColumns(9, 15), 4, PassColumns(8, 16)),  # no more than the batch has
    ],
)
def test_columns_are_rounded_as_padding_is(columns, multiple, rounded):
    assert columns.rounded(multiple, PassColumns(8, 16)) == rounded


@given(st.data())
def test_what_is_cut_is_put_back_at_its_place(data):
    whole = PassColumns(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)))
    rows = data.draw(st.permutations(range(data.draw(st.integers(1, 5)))))
    batch = torch.arange(1.0, len(rows) * whole.width + 1).view(len(rows), whole.width)
    passed = rows[: data.draw(st.integers(1, len(rows)))]
    parts, kept = [], {}
    for row in passed:
        own = PassColumns(data.draw(st.integers(1, whole.prompt)), data.draw(st.integers(1, whole.completion)))
        cut = own.cut(batch[[row]], whole)
        assert cut.tolist() == [batch[row, whole.prompt - own.prompt : whole.prompt + own.completion].tolist()]
        parts.append(cut[:, own.prompt :])
        kept[row] = own.completion
    found = put_back(parts, [torch.tensor([row]) for row in passed], (len(rows), whole.completion))
    expected = [
        [
            batch[row, whole.prompt + place].item() if place < kept.get(row, 0) else 0.0
            for place in range(found.size(1))
        ]
        for row in range(len(rows))
    ]
    assert found.tolist() == expected


def test_all_rows_are_widened_alone():
    assert put_back([torch.ones(2, 1)], [None], (2, 3)).tolist() == [[1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("model", "settings", "left", "width"),
    [
        ("qwen2", {}, True, True),
        ("gemma3_text", {}, True, True),  # settings for each kind of layer
        ("gpt2", {}, False, True),
        ("opt", {}, False, True),
        ("recurrent_gemma", {}, False, True),
        ("llama4_text", {}, False, True),  # attention is scaled by the column
        ("qwen2_5_vl", {}, True, True),
        ("phi3", {"rope": "longrope"}, True, False),
        ("llama", {"rope": "dynamic"}, True, False),
        ("llama", {"rope": "yarn"}, True, True),
    ],
)
def test_padding_that_a_model_does_not_see(model, settings, left, width):
    config = AutoConfig.for_model(model)
    if settings:
        config.rope_parameters = {**config.rope_parameters, "rope_type": settings["rope"]}
    assert (ignores_left_padding(config), ignores_width(config)) == (left, width)
