"""The page of an advice: complete in one file, safe, and with pictures of what was measured."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from prefix_rft_trl.advice.advice_page import advice_page
from prefix_rft_trl.advice.advice_pictures import success_by_prefix, success_of_problems, tokens_by_probability
from prefix_rft_trl.advice.advice_rules import advise
from prefix_rft_trl.advice.probe_result import Probed, Share


VOID = {"meta"}


class Outline(HTMLParser):
    """Tags that are open, all attributes, and the text outside of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words += data.split()


def read(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


@pytest.mark.parametrize("style", ["worked", "brief", "paired"])
def test_page_holds_the_advice_and_fetches_nothing(style, probe_findings):
    result = probe_findings(style)
    advice = advise(result)
    page = advice_page(advice, result)
    outline = read(page)
    words = " ".join(outline.words)
    assert [text for text in (advice.headline, advice.why, *advice.would_change) if text not in words] == []
    assert all(change.reason in words for change in advice.changes)
    assert not {name for _, name, _ in outline.attributes} & {"src", "href", "onload", "action", "srcset"}
    assert not re.search(r"https?:|url\(|@import|<script", page)
    assert "prefers-color-scheme:dark" in page
    assert page.count("<svg") == 3


def test_names_are_escaped(probe_findings):
    result = replace(probe_findings(), model="<script>alert(1)</script>", dataset='"><img src=x>', reward="a&b")
    page = advice_page(advise(result), result)
    assert "<script" not in page
    assert "<img" not in page
    read(page)


def test_page_without_measurements_has_no_pictures(probe_findings):
    nothing = {"alone": Probed((), ()), "continued": {}, "token_logps": (), "read_tokens": (), "first_token_logps": ()}
    result = probe_findings(**nothing)
    page = advice_page(advise(result), result)
    read(page)
    assert "<svg" not in page


def test_curve_is_at_its_figures(probe_findings):
    picture = str(success_by_prefix(probe_findings("brief")))
    heights = [float(y) for y in re.findall(r'class="point" cx="[\d.]+" cy="([\d.]+)"', picture)]
    axis = re.findall(r'y1="([\d.]+)" y2="[\d.]+"/><text[^>]*>([\d.]+)<', picture)
    rules = {float(text): float(y) for y, text in axis}
    zero, one = rules[0.0], rules[1.0]
    values = [(zero - height) / (zero - one) for height in heights]
    expected = [102 / 512, *(count / 96 for count in (25, 35, 31, 50, 67))]
    assert values == pytest.approx(expected, abs=0.002)
    assert "0.52 (0.42 to 0.62)" in picture


@pytest.mark.parametrize("accepted", [0, 100, 512])
def test_name_of_the_level_is_clear_of_the_curve(accepted, probe_findings):
    picture = str(success_by_prefix(probe_findings("brief", accepted=Share(accepted, 512))))
    heights = re.search(r'class="level".*?y1="([\d.]+)".*?class="faint".*?y="([\d.]+)"', picture)
    level, name = map(float, heights.groups())
    assert (name > level) == (accepted > 0)


def test_no_line_ends_within_an_interval(probe_findings):
    result = probe_findings()
    page = advice_page(advise(result), result)
    text = " ".join(re.findall(r"<td>[^<]*</td>", page))
    assert re.search(r"\d\xa0to\xa0\d", text)
    assert re.search(r"\d\xa0of\xa0\d", text)
    assert not re.search(r"\d (to|of) \d", text)


def test_problems_are_counted_by_how_often_they_are_solved(probe_findings):
    picture = str(success_of_problems(probe_findings()))
    assert "never 24, up to ¼ 25, up to ½ 11, up to ¾ 1, above ¾ 1, always 2" in picture


def test_tokens_are_counted_by_their_probability(probe_findings):
    picture = str(tokens_by_probability(probe_findings(token_logps=(0.0, -0.1, -1.0, -3.0, -5.0, -50.0))))
    assert "above 50% 2, 10 to 50% 1, 1 to 10% 1, 0.1 to 1% 1, below 0.1% 1" in picture
