import pytest
from markdown_it import MarkdownIt

from prefix_rft_trl.utils.markdown import code, fenced, plain_markdown


TEXTS = [
    "[a](https://b.c)", "![a](b)", "<b>", "a*b*c", "_a_ snake_case __b__", "~~a~~", "# a", "> a", "- a", "+ a", "1. a",
    "1) a", "&lt;", "a\\*", "a\nb", "``` a", "a ` b", "[^1]", "![[a]]", "12 of 3", "0.5 ± 0.1", "a | b",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_shows_a_text_as_it_is(text):
    (opened, inline, _) = MarkdownIt("gfm-like", {"linkify": False}).parse(plain_markdown(text))
    assert opened.type == "paragraph_open"
    assert {token.type for token in inline.children} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children) == text.replace("\n", " ")


def test_settings_in_backticks_stay_code():
    assert plain_markdown("`num_generations` of [a]") == r"`num_generations` of \[a\]"


@pytest.mark.parametrize("text", ["a", "a\n```\n# b", "````", "a `b` c"])
def test_a_block_of_code_ends_where_it_should(text):
    (block,) = MarkdownIt().parse(fenced(text, "bash"))
    assert (block.type, block.content, block.info) == ("fence", f"{text}\n", "bash")


@pytest.mark.parametrize(("text", "shown"), [("a", "`a`"), ("a`b", "`a'b`"), ("a\nb", "`a b`"), ("\x1b[2J", "`␛[2J`")])
def test_code_in_a_line(text, shown):
    assert code(text) == shown
