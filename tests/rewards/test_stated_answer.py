import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.rewards.answers import answer_as_word, last_statement


@pytest.mark.parametrize(
    ("text", "answer", "rest"),
    [
        (r"So x = 42, \boxed{41}, no: \boxed{42}.", "42", r"\boxed{42}."),
        (r"It is \boxed{\frac{1}{2}}, or 1/2.", "1/2", r"\boxed{\frac{1}{2}}, or 1/2."),
        ("48/2 = <<48/2=24>>24, 24+48 = 72\n#### 72", "48/2 ... #### 72", "#### 72"),
        ("Then 6 * 7 = 42. The answer is 42.", "42", "answer is 42."),
        ("3+4=7;7*2=4;4-5=9;#9", "9", "9"),
        ("6 * 7 = 42, which is 42. Done in 142 steps.", "42", "42. Done in 142 steps."),
        ("So it is 42, and not 42.5.", 42.0, "42, and not 42.5."),
        ("1 1 1", "1 1", "1 1"),
        (r"<think>It is \boxed{42}.</think>So 42 it is.", "42", "42 it is."),
        (r"A wrong one: \boxed{41}. The right one would be 42.", "42", r"\boxed{41}. The right one would be 42."),
        ("Nothing is stated here.", "42", None),
        ("Nothing to look for: 42.", None, None),
        ("Nothing to look for: 42.", "", None),
        ("Nothing to look for: 42.", ["42"], None),
    ],
)
def test_statement_that_would_give_the_answer_away_is_found(text, answer, rest):
    place = last_statement(text, answer)
    assert (None if place is None else text[place:]) == rest


@given(words=st.lists(st.sampled_from(["42", "42.5", "142", "x42", "4", "2", "-42", "42.", "(42)"]), max_size=8))
def test_last_place_of_the_answer_is_that_of_the_last_word_that_is_the_answer(words):
    text = " ".join(words)
    of_words = [
        " ".join([*words[:place], ""]) for place, word in enumerate(words) if word in ("42", "-42", "42.", "(42)")
    ]
    expected = len(of_words[-1]) + text[len(of_words[-1]) :].index("42") if of_words else None
    assert last_statement(text, "42") == expected


@given(answer=st.text("4.2ab+{\\#\n ", min_size=1, max_size=6))
def test_every_answer_is_found_where_it_stands_alone(answer):
    alone = answer.rpartition("####")[2].strip()
    word = answer_as_word(answer)
    assert (word is None) == (alone == "")
    if word is not None:
        assert [found.start() for found in word.finditer(f"< {alone} >")] == [2]
        assert not word.search(f"a{alone}a") or not re.match(r"\w", alone)
