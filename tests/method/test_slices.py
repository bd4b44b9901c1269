"""UFT's slices: a demonstration's sentences in at most five parts, and the splice of rows that are sampled."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.prefixes import assign, slice_end
from prefix_rft_trl.sampling.hybrid import put_back


def sentences_of(text: str) -> list[str]:
    """A character at a time: white space after an end of a sentence is still its own."""
    sentences, current, ended = [], "", False
    for place, character in enumerate(text):
        if ended and not character.isspace():
            sentences.append(current)
            current, ended = "", False
        current += character
        followed_by_space = text[place + 1 : place + 2].isspace()
        ended = ended or character in ";\n" or (character in ".!?" and followed_by_space)
    return [*sentences, current] if current else sentences


texts = st.text("ab3.;!? \n", max_size=40)
ratios = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One. ", "Two? ", "Three!"]),
        ("7-0=7;7*8=6;#6", ["7-0=7;", "7*8=6;", "#6"]),
        ("It is 3.14 or so.\n\nThen", ["It is 3.14 or so.\n\n", "Then"]),
        ("a...  b", ["a...  ", "b"]),
    ],
)
def test_sentences_end_where_a_reader_would_say(text, expected):
    assert sentences_of(text) == expected
    number = len(expected)
    ends = [slice_end(text, given / number) for given in range(number + 1)]
    assert ends == [len("".join(expected[:given])) for given in range(number + 1)]


@given(text=texts, ratio=ratios)
@example(text="", ratio=1.0)
@example(text="a. b. c. d. e. f. g. ", ratio=0.4)
def test_slices_are_complete_sentences_from_the_start(text, ratio):
    sentences = sentences_of(text)
    ends = {len("".join(sentences[:number])) for number in range(len(sentences) + 1)}
    assert slice_end(text, ratio) in ends


@given(text=texts)
def test_slices_are_at_most_five_and_of_equal_size(text):
    sentences = sentences_of(text)
    number = min(5, len(sentences))
    ends = [slice_end(text, given / number) for given in range(number + 1)] if number else [0]
    assert ends[0] == 0
    assert ends[-1] == len(text)
    sizes = [len(sentences_of(text[start:end])) for start, end in pairwise(ends)]
    assert sum(sizes) == len(sentences)
    assert all(size > 0 for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(text=texts)
def test_more_slices_are_never_less_text(text):
    ends = [slice_end(text, given / 5) for given in range(6)]
    assert ends == sorted(ends)
    assert len(set(ends)) == min(5, len(sentences_of(text))) + 1


def test_no_slice_is_no_prefix_though_one_was_planned():
    found = assign([{"content": "One. Two."}], (0, 0, 0), (0.0, 0.95), "binomial")
    assert found.planned
    assert found.demonstration is None


# Rows that are sampled go back between those that are known

rows_and_others = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), max_size=3)), max_size=8)


@given(known=rows_and_others, extra=st.integers(0, 3))
def test_sampled_rows_return_to_their_places_and_surplus_ones_are_dropped(known, extra):
    sampled_rows = [row for row, (is_known, _) in enumerate(known) if not is_known]
    sampled = [[-1, row] for row in sampled_rows] + [[-2, -2]] * extra
    found = put_back(sampled_rows, sampled, [ids for _, ids in known])
    assert found == [ids if is_known else [-1, row] for row, (is_known, ids) in enumerate(known)]
