"""Hints as text: where a template puts them, whatever braces it, the prompt or the hint has."""

import copy
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.method.hints import as_hint, hint_source_ids, with_hint
from prefix_rft_trl.method.prefixes import NO_PREFIX, Prefix, is_guided


TEMPLATE = "{prompt}\n\nHint: {hint}"
LATEX = r"Find \frac{a}{b} of \{0, 1\} for {prompt} and {x!r} {0}"


def text(role: str, content: object) -> dict:
    return {"role": role, "content": content}


def part(content: str) -> dict:
    return {"type": "text", "text": content}


CASES = {
    "text": ("2 + 2", "4", TEMPLATE, "2 + 2\n\nHint: 4"),
    "latex": (LATEX, r"\boxed{\frac12} {hint}", TEMPLATE, LATEX + "\n\nHint: \\boxed{\\frac12} {hint}"),
    "places_in_data": ("{hint}", "{prompt}", TEMPLATE, "{hint}\n\nHint: {prompt}"),
    "hint_in_front": ("2 + 2", "4", "{hint} {{x}} \\{ {prompt}", "4 {{x}} \\{ 2 + 2"),
    "backslashes": (r"\1 \g<0>", r"\g<prompt>", "{hint}{prompt}", r"\g<prompt>\1 \g<0>"),
    "one_turn": ([text("user", "Q")], "H", TEMPLATE, [text("user", "Q\n\nHint: H")]),
    "turns": (
        [text("system", "S"), text("user", "A"), text("assistant", "B"), text("user", "C")],
        "H",
        TEMPLATE,
        [text("system", "S"), text("user", "A"), text("assistant", "B"), text("user", "C\n\nHint: H")],
    ),
    "tool_behind_the_user": (
        [text("user", "A"), text("tool", "B")], "H", TEMPLATE, [text("user", "A\n\nHint: H"), text("tool", "B")],
    ),
    "no_user": ([text("system", "S")], "H", TEMPLATE, [text("system", "S\n\nHint: H")]),
    "parts": (
        [text("user", [part("A"), {"type": "image", "image": 1, "text": None}, part("B")])],
        "H",
        "<{hint}> {prompt}!",
        [text("user", [part("<H> A"), {"type": "image", "image": 1, "text": None}, part("B!")])],
    ),
    "one_part": ([text("user", [part("A")])], "H", "<{hint}> {prompt}!", [text("user", [part("<H> A!")])]),
    "no_text_part": (
        [text("user", [{"type": "image"}])], "H", TEMPLATE,
        [text("user", [part(""), {"type": "image"}, part("\n\nHint: H")])],
    ),
    "other_keys": (
        [{**text("user", "A"), "name": "n"}], "H", "{hint}{prompt}", [{**text("user", "HA"), "name": "n"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "hint", "template", "expected"), CASES.values(), ids=CASES)
def test_a_template_puts_the_hint_into_a_prompt(prompt, hint, template, expected):
    before = copy.deepcopy(prompt)
    assert with_hint(prompt, hint, template) == expected
    assert prompt == before


WORDS = st.text(alphabet="ab{} \\n{prompt}{hint}", max_size=12)
FREE = WORDS.map(lambda word: word.replace("{prompt}", "").replace("{hint}", ""))


@given(prompt=WORDS, hint=WORDS, pieces=st.tuples(FREE, FREE, FREE), hint_first=st.booleans())
def test_nothing_of_a_template_or_of_the_data_is_read_as_a_place(prompt, hint, pieces, hint_first):
    places = ["{hint}", "{prompt}"] if hint_first else ["{prompt}", "{hint}"]
    template = pieces[0] + places[0] + pieces[1] + places[1] + pieces[2]
    if template.count("{prompt}") != 1 or template.count("{hint}") != 1:  # pieces that make a place together
        return
    values = {"{prompt}": prompt, "{hint}": hint}
    expected = pieces[0] + values[places[0]] + pieces[1] + values[places[1]] + pieces[2]
    assert with_hint(prompt, hint, template) == expected
    (message,) = with_hint([text("user", prompt)], hint, template)
    assert message == text("user", expected)


# From token ids to a prompt


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer):
    return byte_tokenizer(special_tokens=["<end>", "<turn>"], eos_token="<end>", pad_token="<end>")


@pytest.fixture(scope="module")
def decode(tokenizer):
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (text("assistant", r"  so \frac{1}{2}"), r"  so \frac{1}{2}"),
        ({**text("assistant", "answer"), "reasoning_content": "thought"}, "thought\n\nanswer"),
        (text("assistant", "before<end>behind"), "before"),
        (text("assistant", "<end>"), ""),
    ],
)
def test_a_hint_is_cut_from_the_text_of_a_demonstration(message, expected, tokenizer):
    assert tokenizer.decode(hint_source_ids(tokenizer, message, [tokenizer.eos_token_id])) == expected


def test_a_prefix_moves_into_the_prompt(tokenizer, decode):
    ids = tokenizer("a <turn>{b}")["input_ids"]
    found = as_hint(Prefix(ids, 1.0, 0.5), "P", [7], TEMPLATE, decode)
    assert (found.ids, found.states_answer, found.share) == ([], 1.0, 0.5)
    assert (found.given_ids, found.hint.plain_prompt_ids) == (ids, [7])
    assert found.hint.prompt == "P\n\nHint: a {b}"  # without marks that would be read as the template's


@pytest.mark.parametrize("source", ["", " \n", "<turn>", "é"])
def test_a_hint_without_text_is_none(source, tokenizer, decode):
    ids = tokenizer(source)["input_ids"]
    assert as_hint(Prefix(ids[:1] if source == "é" else ids), "P", [7], TEMPLATE, decode) is NO_PREFIX


def test_a_character_that_was_cut_is_left_out(tokenizer, decode):
    ids = tokenizer("aé")["input_ids"][:2]
    assert as_hint(Prefix(ids), "P", [7], TEMPLATE, decode).hint.prompt == "P\n\nHint: a"


# The share of the groups


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, "1111111111"), (0.5, "0101010101"), (0.3, "0001001001"), (0.9, "0111111111")]
)
def test_a_share_of_the_groups_is_guided(share, expected):
    assert "".join(str(int(is_guided(group, share))) for group in range(10)) == expected


@given(share=st.integers(1, 1000).map(lambda thousandths: thousandths / 1000), groups=st.integers(0, 3000))
def test_a_share_is_exact_after_any_number_of_groups(share, groups):
    guided = sum(is_guided(group, share) for group in range(groups))
    assert guided == Fraction(str(share)) * groups // 1
