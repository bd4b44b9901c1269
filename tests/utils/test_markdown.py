import random
import re

import pytest
from markdown_it import MarkdownIt

from prefix_rft_trl.utils.markdown import code, fenced, plain_markdown


TEXTS = [
    "[a](https://b.c)", "![a](b)", "<b>", "a*b*c", "_a_ snake_case __b__", "~~a~~", "# a", "> a", "- a", "+ a", "1. a",
    "1) a", "&lt;", "a\\*", "a\nb", "``` a", "a ` b", "[^1]", "![[a]]", "12 of 3", "0.5 ± 0.1", "a | b",
    "---", "- - -", "-", "===", "#", "a ##", ">a", "1.", "| a | b |", "  # a", "    a", "-1.5", "```[a](b)`",
    "![a](b)`", "`", "|",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_shows_a_text_as_it_is(text):
    (opened, inline, _) = MarkdownIt("gfm-like", {"linkify": False}).parse(plain_markdown(text))
    assert opened.type == "paragraph_open"
    assert {token.type for token in inline.children} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children) == text.replace("\n", " ").strip()


SIGNS = [
    "`", "``", "```", "[", "]", "(", ")", "!", "|", "---", "-", "#", ">", "<", "&", "*", "_", "~", "=", "+",
    "\\", ":", "1.", "\n", "a", "b", "http://c", "<b>", "</b>", "&lt;", "[a](b)", "![a](b)",
]  # fmt: skip
SHOWN = {"text", "text_special", "code_inline"}


@pytest.mark.parametrize("around", ["{}", "# {}", "![{}](figure.svg)", "| {} | b |\n| --- | --- |\n| {} | {} |"])
def test_of_random_texts_none_is_more_than_text_and_code(around):
    draw = random.Random(0)
    plain = [token.type for token in MarkdownIt("gfm-like", {"linkify": False}).parse(around.replace("{}", "a"))]
    for _ in range(500):
        text = draw.choice(["", " "]).join(draw.choices(SIGNS, k=draw.randint(1, 9)))
        if not text.strip():
            continue
        cell = plain_markdown(text).replace("|", "\\|") if "---" in around else plain_markdown(text)
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(around.replace("{}", cell))
        assert [token.type for token in tokens] == plain, text
        inner = [child for token in tokens for child in token.children or []]
        inner = [child for image in inner for child in (image.children if image.type == "image" else [image])]
        assert {child.type for child in inner} <= SHOWN, text
        shown = re.sub(r"[\s`]", "", "".join(child.content for child in inner))
        assert shown.startswith(re.sub(r"[\s`]", "", text)), text


def test_settings_in_backticks_stay_code():
    assert plain_markdown("`num_generations` of [a]") == r"`num_generations` of \[a\]"


@pytest.mark.parametrize("text", ["a", "a\n```\n# b", "````", "a `b` c"])
def test_a_block_of_code_ends_where_it_should(text):
    (block,) = MarkdownIt().parse(fenced(text, "bash"))
    assert (block.type, block.content, block.info) == ("fence", f"{text}\n", "bash")


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a`b", "`a'b`"), ("a\nb", "`a b`"), ("\x1b[2J", "`␛[2J`")])
def test_code_in_a_line(text, shown):
    assert code(text) == shown
