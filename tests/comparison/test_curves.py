import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import pytest

from prefix_rft_trl.comparison import curves
from prefix_rft_trl.comparison.results import Run


def methods(comparison):
    rows = comparison.tables[0].rows
    styles = curves.styles([[row.experiments[0].name for row in rows]])
    return [curves.Method(row.label, styles[row.experiments[0].name], row.experiments[0].runs) for row in rows]


def test_the_same_results_give_the_same_bytes_whatever_the_users_own_settings(comparison):
    first = curves.draw(methods(comparison), curves.ACCURACY, 0.8)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.fonttype": "none"}):
        second = curves.draw(methods(comparison), curves.ACCURACY, 0.8)
        assert matplotlib.rcParams["font.size"] == 20
    assert first == second
    assert "<dc:date>" not in first
    assert "<text" not in first  # glyphs are drawn, so that no font is needed


@pytest.mark.parametrize("apart", [False, True])
def test_a_figure_has_each_method_in_its_colour(comparison, apart):
    drawn = curves.draw(methods(comparison), curves.ACCURACY, 0.8, apart)
    ElementTree.fromstring(drawn)
    for method in methods(comparison):
        assert f"stroke: {method.style.colour}" in drawn
    assert drawn.count("fill-opacity: 0.14") == 3


def test_one_seed_is_drawn_without_a_band(comparison):
    single = [replace(method, runs=method.runs[:1]) for method in methods(comparison)]
    drawn = curves.draw(single, curves.ACCURACY, 0.8)
    assert "fill-opacity: 0.14" not in drawn


def test_a_quantity_that_no_method_logged_is_not_drawn(comparison):
    rft = methods(comparison)[1:2]
    prefix = next(view for view in curves.VIEWS if view.y == "prefix/length")
    assert curves.draw(rft, prefix, 0.8) is None
    assert curves.draw(methods(comparison), prefix, 0.8) is not None
    assert curves.draw([], curves.ACCURACY, 0.8) is None


def test_tokens_on_an_axis_are_those_generated_and_trained():
    lines = [
        {"step": step, "accuracy": 0.5, "generated_tokens": made, "trained_tokens": trained}
        for step, made, trained in ((0, 0, 0), (10, 300, 40))
    ]
    view = next(view for view in curves.VIEWS if view.x == "tokens")
    found = curves.points(curves.Method("x", curves.OTHER, [Run(0, lines)]), view)
    assert [across.mean for across, _ in found] == [0, 340]


def test_eight_methods_differ_in_colour_and_marker_and_keep_both_in_all_figures():
    names = list("abcdefgh")
    styles = curves.styles([names, ["c", "new", "newer"]])
    assert len({styles[name].colour for name in names}) == len({styles[name].marker for name in names}) == 8
    assert styles == styles | curves.styles([names])
    assert len({styles[name].colour for name in ("c", "new", "newer")}) == 3


def test_colours_can_be_told_apart_from_white():
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert all(1.05 / (luminance(colour) + 0.05) > 2.9 for colour in curves.COLOURS)


def test_rounding_leaves_scales_alone():
    svg = '<g transform="scale(0.015625)"><path d="M 1.23456 \nL 0.5 2"/><use x="3.14159"/></g>'
    assert (
        curves.round_coordinates(svg) == '<g transform="scale(0.015625)"><path d="M 1.23 L 0.5 2"/><use x="3.14"/></g>'
    )


def test_numbers_on_an_axis_are_short():
    assert [curves.short_number(value) for value in (0, 500, 50_000, 2_500_000)] == ["0", "500", "50k", "2.5M"]
    assert not re.search("e", curves.short_number(123_456.0))
