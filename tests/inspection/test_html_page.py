import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.inspection.html_page import entropy_class, page, verdict
from prefix_rft_trl.inspection.records import Group, HybridRollout, Inspection, OnPolicyRollout, Token


VOID = {"meta", "wbr", "br"}


class Reader(HTMLParser):
    """Parses a page, and fails if a closing tag does not match the last one opened."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.tokens: list[tuple[str, str, str, str]] = []  # tag, classes, title, text
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        given = dict(attrs)
        if "title" in given:
            self.tokens.append((tag, given["class"], given["title"], ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("b", "span", "s") and self.tokens:
            self.tokens[-1] = (*self.tokens[-1][:3], self.tokens[-1][3] + data)


def make_inspection(text: str, **changes) -> Inspection:
    token = Token(text, 0.3, 0.5)
    hybrid = HybridRollout((token, replace(token, selected=True)), (token,), (token, token), 1.0, 0.75, 0.75)
    group = Group(7, text, (replace(hybrid, **changes),), (OnPolicyRollout(text, 5, 0.0, -0.25),))
    return Inspection((("name", text),), (group,))


def read(text: str, **changes) -> Reader:
    return Reader(page(make_inspection(text, **changes)))


MARKUP = ["<b>", "</div>", "<script>alert(1)</script>", "</style>", "<!--", "&lt;", "{{ 7 }}", "<|end|>", *"&\"'> \n"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HOSTILE = st.lists(st.one_of(st.sampled_from(MARKUP), TEXT), max_size=5).map("".join)


@given(text=HOSTILE)
def test_text_of_a_model_or_dataset_never_becomes_a_tag(text):
    shown = Reader(page(make_inspection(text), [("model", text)]))
    plain = Reader(page(make_inspection("x"), [("model", "x")]))
    for tag in ("s", "br", "wbr"):  # signs of white space
        del shown.tags[tag], plain.tags[tag]
    assert shown.tags == plain.tags
    assert len(shown.tokens) == 5


@given(text=st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20))
def test_the_text_of_a_token_is_shown_unchanged(text):
    tokens = read(text).tokens
    assert all(token[3].startswith(text) and token[2].startswith(text) for token in tokens)


def test_white_space_is_visible_and_lines_wrap_and_break():
    html = page(make_inspection(" a\n"))
    (first, *_) = Reader(html).tokens
    assert first[3].startswith("·a↵")
    assert first[2].startswith("·a↵")
    assert re.search(r"<wbr><span [^>]*><s>·</s>a<s>↵</s></span><br>", html)


def test_a_token_that_is_part_of_a_character_is_visible():
    (first, *_) = read("").tokens
    assert first[3].startswith("◌")
    assert first[2].startswith("part of a character")


def test_selected_tokens_are_recognisable_without_colour():
    tokens = read("x").tokens
    assert [token[0] for token in tokens] == ["span", "b", "span", "span", "span"]
    assert [token[2].endswith("kept") for token in tokens] == [False, True, False, False, False]
    style = re.search(r"b\.t\{([^}]*)\}", page(make_inspection("x")))[1]
    assert "font-weight:800" in style
    assert "outline:" in style


def test_given_written_and_remaining_tokens_follow_each_other_with_the_cut_in_between():
    html = page(make_inspection("x"))
    classes = [token[1] for token in Reader(html).tokens]
    assert classes == ["t e3", "t e3", "t w", "t r e3", "t r e3"]
    assert html.index("</b>", html.index("<section>")) < html.index("policy goes on<") < html.index('class="t w" tab')


def test_results_of_tools_are_neither_written_nor_the_rest():
    (token,) = make_inspection("x").groups[0].hybrids[0].continuation
    parts = (("prefix", (token,)), ("result", (token,)), ("prefix", (token,)), ("written", (token,)))
    classes = [token[1] for token in read("x", parts=parts).tokens]
    assert classes == ["t e3", "t o", "t e3", "t w", "t r e3", "t r e3"]
    legends = [read("x", parts=shown).text for shown in ((), parts)]
    assert ["of a tool, never trained" in text for text in legends] == [False, True]


def test_the_page_needs_no_script_and_no_other_file_and_fits_a_phone_and_dark_mode():
    html = page(make_inspection("x"), [("model", "lab")])
    assert not re.search(r"<script|https?:|//\w|src=|href=|url\(|@import|<link|<iframe|<img", html)
    assert html.count('tabindex="-1" title="x  entropy 0.30 nats, probability 50.0%') == 5
    assert ".t:focus::after{content:attr(title)" in html
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "prefers-color-scheme:dark" in html
    assert "overflow-wrap:anywhere" in html


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [(0.75, "+0.75 ▲ reinforced"), (-0.125, "−0.125 ▼ pushed away"), (0.0, "0 ● nothing to learn")],  # noqa: RUF001
)
def test_the_sign_of_the_advantage_is_spelled_out(advantage, expected):
    assert f"advantage{expected}" in read("x", prefix_advantage=advantage, advantage=advantage).text
    assert expected.endswith(verdict(advantage))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prefix_advantage": -0.5, "advantage": 0.25}, "of the kept tokens−0.5 ▼ pushed away"),  # noqa: RUF001
        ({"prefix_advantage": -0.5, "advantage": 0.25}, "of what it wrote+0.25 ▲ reinforced"),
        ({"prefix_advantage": None, "advantage": -0.5}, "imitated, whatever the reward"),
        ({"prefix": (Token("x", 0.3, 0.5),)}, "context only"),
        ({"continuation": (), "rest": ()}, "given whole"),
        ({}, "mean 0.5;"),  # of all rollouts of the group
    ],
)
def test_a_group_says_how_its_rollouts_are_trained(changes, expected):
    shown = read("x", **changes).text
    assert expected in shown
    assert ("✂" in shown) == (expected != "given whole")


def test_a_group_without_a_prefix_says_so_and_many_hybrids_are_folded():
    (group,) = make_inspection("x").groups
    none = Inspection((), (replace(group, hybrids=()),))
    assert "No rollout of this group was given a prefix" in Reader(page(none)).text
    many = Reader(page(Inspection((), (replace(group, hybrids=group.hybrids * 4, on_policy=()),))))
    assert "3 more with a prefix" in many.text
    assert many.tags["details"] == 1
    assert len(many.tokens) == 20


def test_colours_change_at_the_edges_of_the_legend():
    assert [entropy_class(nats) for nats in (0.0, 0.019, 0.02, 0.99, 1.0, 3.0, 11.0)] == [0, 0, 1, 4, 5, 8, 8]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, by the Web Content Accessibility Guidelines."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        values = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast_and_the_scale_reads_without_colour_vision(scheme):
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", page(make_inspection("x")).split("prefers-color-scheme")[scheme]))
    heat = [colours[f"e{place}"] for place in range(9)]
    pairs = [("text", "page"), ("text", "panel"), ("faint", "page"), ("faint", "panel"), ("wrote", "wrote-back")]
    pairs += [("on-cut", "cut"), ("good", "page"), ("bad", "page")]
    assert all(contrast(colours[one], colours[other]) >= 4.5 for one, other in pairs)
    against_text = [contrast(colours["text"], colour) for colour in heat]
    assert min(against_text) >= 4.5
    assert against_text == sorted(against_text, reverse=True)


def test_rendering_a_page_needs_no_torch():
    program = "import sys, prefix_rft_trl.inspection.html_page; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
