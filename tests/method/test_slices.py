"""UFT's slices: a demonstration's sentences in at most five parts, and the splice of rows that are sampled."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.prefixes import assign, sentence_ends, slice_end, slices_length
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
    ends = [slice_end(sentence_ends(text), given) for given in range(number + 1)]
    assert ends == [len("".join(expected[:given])) for given in range(number + 1)]


@given(text=texts, share=st.integers(0, 5))
@example(text="", share=1)
@example(text="a. b. c. d. e. f. g. ", share=2)
def test_slices_are_complete_sentences_from_the_start(text, share):
    sentences = sentences_of(text)
    ends = {len("".join(sentences[:number])) for number in range(len(sentences) + 1)}
    found = sentence_ends(text)
    assert slice_end(found, min(share, 5, len(found))) in ends


@given(text=texts)
def test_slices_are_at_most_five_and_of_equal_size(text):
    sentences = sentences_of(text)
    number = min(5, len(sentences))
    ends = [slice_end(sentence_ends(text), given) for given in range(number + 1)] if number else [0]
    assert ends[0] == 0
    assert ends[-1] == len(text)
    sizes = [len(sentences_of(text[start:end])) for start, end in pairwise(ends)]
    assert sum(sizes) == len(sentences)
    assert all(size > 0 for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1


SENTENCES = ["a. ", "b. ", "c. ", "d. ", "e. ", "f. ", "g. "]
P_TENTHS = (1, 5, 9)
# For each number of sentences, how often in 1 of 10^n each number of them is given: binomial coefficients by hand
BY_HAND = {
    1: (1, 1),
    2: (1, 2, 1),
    3: (1, 3, 3, 1),
    4: (1, 4, 6, 4, 1),
    5: (1, 5, 10, 10, 5, 1),
    # Five slices: of six sentences 1, 1, 1, 1, 2, and of seven 1, 2, 1, 2, 1, in the order of the text
    6: (1, 5, 10, 10, 5, 1),
    7: (1, 5, 10, 10, 5, 1),
}
ENDS = {6: (0, 1, 2, 4, 5, 6), 7: (0, 1, 3, 4, 6, 7)}


@pytest.mark.parametrize("tenths", P_TENTHS)
@pytest.mark.parametrize("number", BY_HAND)
def test_of_few_sentences_each_slice_is_given_with_the_same_probability(number, tenths):
    ids, draws = list(map(ord, "".join(SENTENCES[:number]))), 2000
    counts = Counter(
        slices_length(tenths / 10, ids, 1000, lambda shown: "".join(map(chr, shown)), (7, step, row))
        for step in range(20)
        for row in range(draws // 20)
    )
    p, ways = tenths / 10, BY_HAND[number]
    slices = len(ways) - 1
    expected: Counter[int] = Counter()
    for given_slices, of_ways in enumerate(ways):
        sentences = ENDS.get(number, range(slices + 1))[given_slices]
        length = min(len("".join(SENTENCES[:sentences])), len(ids) - 1)  # a token is left to sample
        expected[length] += draws * of_ways * p**given_slices * (1 - p) ** (slices - given_slices)
    assert set(counts) <= set(expected)
    common = [length for length, times in expected.items() if times > 5]
    assert sum((counts[length] - expected[length]) ** 2 / expected[length] for length in common) < 20.5  # 1 in 1000


def test_draw_is_that_of_the_rollout_alone():
    ids = list(map(ord, "".join(SENTENCES)))

    def drawn(*key):
        return slices_length(0.5, ids, 1000, lambda shown: "".join(map(chr, shown)), key)

    assert [drawn(0, 1, row) for row in range(50)] == [drawn(0, 1, row) for row in range(50)]
    for keys in ([(0, 1, row) for row in range(50)], [(0, step, 1) for step in range(50)]):
        assert len({drawn(*key) for key in keys}) > 3


def test_certain_slices_are_all_but_a_token():
    for number in range(1, 8):
        ids = list(map(ord, "".join(SENTENCES[:number])))
        assert slices_length(1.0, ids, 1000, lambda shown: "".join(map(chr, shown)), (0, 0, 0)) == len(ids) - 1


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
