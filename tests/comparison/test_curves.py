import itertools
import re
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from prefix_rft_trl.comparison import curves, drawing
from prefix_rft_trl.comparison.results import Run
from prefix_rft_trl.utils.intervals import Estimate


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
    assert "<dc:date>" not in first.svg
    assert "<text" not in first.svg  # glyphs are drawn, so that no font is needed


def test_a_figure_has_an_opaque_white_background_in_both_formats(comparison):
    found = curves.draw(methods(comparison)[:1], curves.ACCURACY, 0.8)
    image = Image.open(BytesIO(found.png))
    corners = [(x, y) for x in (0, image.width - 1) for y in (0, image.height - 1)]
    assert {image.convert("RGBA").getpixel(corner) for corner in corners} == {(255, 255, 255, 255)}
    assert "fill: #ffffff" in found.svg[: found.svg.index("axes_1")]


@pytest.mark.parametrize("apart", [False, True])
def test_a_figure_has_each_method_in_its_colour(comparison, apart):
    drawn = curves.draw(methods(comparison), curves.ACCURACY, 0.8, apart).svg
    ElementTree.fromstring(drawn)
    for method in methods(comparison):
        assert f"stroke: {method.style.colour}" in drawn
    assert drawn.count("fill-opacity: 0.14") == 3


@pytest.mark.parametrize(("number", "columns"), [(16, 2), (17, 3)])
def test_many_methods_have_smaller_panels(comparison, monkeypatch, number, columns):
    shown = [replace(methods(comparison)[1], label=f"Method {place}") for place in range(number)]
    figure = Figure(layout="constrained")
    monkeypatch.setattr(curves, "drawn", lambda draw: draw(figure))
    curves.draw(shown, curves.ACCURACY, 0.8, apart=True)
    assert [panel.get_title() for panel in figure.axes] == [method.label for method in shown]
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns


def test_one_seed_is_drawn_without_a_band(comparison):
    single = [replace(method, runs=method.runs[:1]) for method in methods(comparison)]
    drawn = curves.draw(single, curves.ACCURACY, 0.8).svg
    assert "fill-opacity: 0.14" not in drawn


def test_two_seeds_are_drawn_as_lines_instead_of_a_band_that_fills_the_figure(comparison, monkeypatch):
    method = methods(comparison)[1]
    figure = Figure(layout="constrained")
    monkeypatch.setattr(curves, "drawn", lambda draw: draw(figure))
    curves.draw([replace(method, runs=method.runs[:2])], curves.ACCURACY, 0.8)
    (axes,) = figure.axes
    assert not axes.collections  # bands
    drawn = [list(line.get_ydata()) for line in axes.lines]
    for run in method.runs[:2]:
        assert [line["accuracy"] for line in run.curve] in drawn


def test_a_quantity_that_no_method_logged_is_not_drawn(comparison):
    rft = methods(comparison)[1:2]
    prefix = next(view for view in curves.VIEWS if view.y == "prefix/length")
    assert curves.draw(rft, prefix, 0.8) is None
    assert curves.draw(methods(comparison), prefix, 0.8) is not None
    assert curves.draw([], curves.ACCURACY, 0.8) is None


def test_the_axis_of_log_probabilities_ends_at_0_and_shows_them(comparison):
    view = next(view for view in curves.VIEWS if view.y == "demonstration_logp")
    axes = matplotlib.figure.Figure().subplots()
    axes.plot([0, 1], [-1.0, -0.2])
    curves._format_axes(axes, view, 0.8)
    assert axes.get_ylim()[0] < -1
    assert axes.get_ylim()[1] == 0
    cost = {"generated_tokens": 0, "trained_tokens": 0}
    lines = [{"step": step, "demonstration_logp": -1.0 / (1 + step), **cost} for step in (0, 10)]
    assert curves.draw([curves.Method("x", curves.Style.numbered(0), [Run(0, lines)])], view, 0.8) is not None


def test_tokens_on_an_axis_are_those_generated_and_trained():
    lines = [
        {"step": step, "accuracy": 0.5, "generated_tokens": made, "trained_tokens": trained}
        for step, made, trained in ((0, 0, 0), (10, 300, 40))
    ]
    view = next(view for view in curves.VIEWS if view.x == "tokens")
    found = curves.points(curves.Method("x", curves.Style.numbered(0), [Run(0, lines)]), view)
    assert [across.mean for across, _ in found] == [0, 340]


def test_nine_methods_differ_in_colour_and_marker_and_keep_both_in_all_figures():
    names = list("abcdefghi")
    styles = curves.styles([names, ["c", "new", "newer"]])
    assert len({styles[name].colour for name in names}) == len({styles[name].marker for name in names}) == 9
    assert styles == styles | curves.styles([names])
    assert len({styles[name].colour for name in ("c", "new", "newer")}) == 3


def test_more_methods_than_colours_differ_in_colour_and_mark_and_all_figures_agree():
    first, second = [f"m{i}" for i in range(20)], ["m3", "m11", "new"]
    styles = curves.styles([first, second])
    assert len({(style.colour, style.marker) for style in styles.values()}) == 21
    assert styles | curves.styles([first]) == styles
    assert styles["new"].colour not in {styles["m3"].colour, styles["m11"].colour}


def test_dots_at_the_end_of_a_curve_are_those_of_its_seeds(comparison):
    method = methods(comparison)[0]
    with_dots = curves.draw([method], curves.ACCURACY, 0.8).svg
    ends = with_dots[with_dots.rindex("stroke: #ffffff") :]
    assert ends.count("<use ") >= len(method.runs) == 3


@pytest.mark.parametrize(("mean", "half", "low", "high"), [(0.4, 0.9, 0.0, 1.0), (0.95, 0.2, 0.4, 1.0)])
def test_the_band_of_a_share_stays_within_0_and_1_and_holds_its_mean(mean, half, low, high):
    found = curves.band(Estimate(mean, half, 2), is_share=True)
    assert low < found[0] < mean < found[1] < high
    assert curves.band(Estimate(mean, half, 2), is_share=False) == (mean - half, mean + half)


# Machado et al. 2009: colours as seen without one kind of cones, from linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
def test_colours_can_be_told_apart_by_the_colour_blind(sight):
    def lab(colour):
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        seen = np.clip(sight @ linear, 0, 1)
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        x, y, z = np.cbrt(np.maximum(to_xyz @ seen / [0.9505, 1, 1.089], 0.001))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    pairs = itertools.combinations(map(lab, curves.COLOURS), 2)
    assert min(np.linalg.norm(one - other) for one, other in pairs) > 12  # 2 is just noticeable


def test_colours_can_be_told_apart_from_white():
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert all(1.05 / (luminance(colour) + 0.05) > 2.9 for colour in curves.COLOURS)


def test_rounding_leaves_scales_alone():
    svg = '<g transform="scale(0.015625)"><path d="M 1.23456 \nL 0.5 2"/><use x="3.14159"/></g>'
    assert (
        drawing.round_coordinates(svg)
        == '<g transform="scale(0.015625)"><path d="M 1.23 L 0.5 2"/><use x="3.14"/></g>'
    )


def test_numbers_on_an_axis_are_short():
    assert [curves.short_number(value) for value in (0, 500, 50_000, 2_500_000)] == ["0", "500", "50k", "2.5M"]
    assert not re.search("e", curves.short_number(123_456.0))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("label", "shown"),
    [("_hidden", "_hidden"), ("$x^2$", "$x^2$"), ("\x1b[31mred", "\u241b[31mred"), ("x" * 120, "x" * 26)],
)
def test_a_label_is_text_in_a_figure_and_leaves_room_to_the_others(comparison, label, shown, apart):
    found = [replace(method, label=label if n == 0 else method.label) for n, method in enumerate(methods(comparison))]
    drawn = curves.draw(found, curves.ACCURACY, 0.8, apart).svg
    ElementTree.fromstring(drawn)
    texts = re.findall(r"<!-- (.*?) -->", drawn, re.S)
    assert any(text.startswith(shown) for text in texts)
    assert max(len(line) for text in texts for line in text.splitlines()) < 60
    assert "RFT" in texts
