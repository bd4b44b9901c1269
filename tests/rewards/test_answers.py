import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.rewards.answers import (
    LONGEST_RESPONSE,
    MARKERS,
    answer_as_word,
    find_final_answer,
    is_placeholder,
    last_statement,
)
from prefix_rft_trl.rewards.math_accuracy import gsm8k_final_number


def stated(text: str, markers: tuple[str, ...] = MARKERS) -> str | None:
    found = find_final_answer(text, markers)
    return None if found is None else found.text


STATEMENTS = [  # an answer, and texts that state it
    # Boxes: the last complete one counts
    ("42", [r"So it is \boxed{42}.", "\\boxed{\n42\n}"]),
    ("2", [r"First \boxed{1}, no, \boxed{2}.", r"\boxed{1} and \boxed 2"]),
    (r"\frac{1}{2}", [r"\boxed{ \frac{1}{2} }"]),
    (r"\frac{\sqrt{3}}{\sqrt{2}}", [r"\boxed{\frac{\sqrt{3}}{\sqrt{2}}}"]),
    ("7", [r"\fbox{7}", r"\boxed {7}"]),
    ("5", [r"\boxed 5 apples"]),
    (r"\{1, 2\}", [r"\boxed{\{1, 2\}}"]),
    (r"x \mid x \} y", [r"\boxed{x \mid x \} y}"]),
    (r"a \\ b", [r"\boxed{a \\ b}"]),
    ("3", [r"\\\boxed{3}", r"{\boxed{3}", r"} \boxed{3}"]),
    ("1", [r"\boxed{1} and then \boxed{2 with no end", r"\boxed{1} and then \boxed{\frac{2}{3}"]),
    (r"\boxed{5}", [r"\boxed{\boxed{5}}"]),
    ("", [r"\boxed{}"]),
    (None, [r"\boxed{42", r"\boxed", r"\boxedin{42}", r"\\boxed{42}", "nothing", ""]),
    # Text after the last marker
    ("7", ["3 + 4 = 7\n#### 7", "#### 7\n\nThanks.", "####7", "#### The answer:\n**7**"]),
    ("42", ["The answer is 42.", "THE ANSWER IS 42", "Answer: 42", "#### Final Answer\n42"]),
    ("42", ["**Final Answer:** 42", "**Answer: 42**", "The answer is: **42**.", "The answer is:\n\n42\n\nQ.E.D."]),
    ("42", ["The answer is $42$.", "The answer is $ 42 $, as wanted."]),
    ("42", ["The answer is 41. No: the answer is 42.", "#### 41\nThe answer is 42"]),
    ("42", ["The answer is 42. It isn't 41, as the answer isn't odd."]),
    (r"\frac{1}{2}", ["The answer is $$\\frac{1}{2}$$ and so on."]),
    ("x + 1", [r"The answer is \(x + 1\).", "The answer is\n\\[\n  x + 1\n\\]\nIndeed."]),
    ("3.5", ["The answer is 3.5.", "The answer is 3.5. It was 4.5 before."]),
    (".5", ["The answer is .5"]),
    ("-3", ["The answer is -3!"]),
    ("1,234,567", ["The answer is 1,234,567."]),
    ("(C)", ["The answer is (C)."]),
    (r"\text{east}", [r"The answer is \text{east}. Go there."]),
    ("42 dollars", ["The answer is 42 dollars\nand no more."]),
    ("$18", ["The answer is $18. (She makes $9 * 2 = $18.)"]),
    ("$18.50", ["The answer is $18.50."]),
    (r"\$18", [r"The answer is \$18."]),
    ("5", ["The answer is 5, since 2+3=5."]),
    ("6", ["The answer is `6`"]),
    # Nothing of the sentence is left out but a reason or a consequence
    ("6 or 7", ["The answer is $6$ or $7$.", "The answer is $6$ or 7.", "#### $6$ or 7"]),
    ("5, 6 and 7", ["The answer is $5$, $6$ and $7$."]),
    ("8 hours and 15 minutes", [r"The answer is $8$ hours and \(15\) minutes."]),
    ("8 to 9", ["The answer is $8$ to $9$", "The answer is 8 to $9$, since x grows"]),
    ("8 thousand", ["Answer: $8$ thousand!"]),
    (r"8\%", [r"The answer is $8$\%, so we take $8$\% of it."]),
    ("8, which is wrong, so 9", ["The answer is 8, which is wrong, so 9."]),
    ("8, so 9", ["The answer is $8$, so $9$."]),
    ("8 as well as 9", ["The answer is 8 as well as 9."]),
    ("8? No, 9", ["The answer is 8? No, 9.", "The answer is $8$? No, $9$."]),
    ("8\nor 9", ["The answer is\n\\[8\\]\nor \\[9\\]"]),
    ("x = 8", [r"The answer is $x = 8$ because it is not 9.", "**Final Answer**: $x = 8$, as x < 9."]),
    ("1", [r"\boxed{1}. The answer is 2. #### 3"]),  # a box precedes a marker
    (None, ["The answer is", "####", "####\n  \n", "42"]),
    # Tags count like a box
    ("42", ["<answer> 42 </answer>", r"<answer>So \boxed{42}.</answer>", "<answer>41</answer> <answer>42</answer>"]),
    ("42", [r"\boxed{41}, that is <answer>42</answer>", r"<answer>41</answer>, no, \boxed{42}"]),
    ("41", ["<answer>41</answer> The answer is 43."]),
    ("6", ["<answer>The answer is 6</answer>"]),
    (None, ["<answer>42", "</answer>42<answer>"]),
    # Thoughts are no answer once their block is closed
    ("42", ["<think><answer>41</answer></think> The answer is 42."]),
    ("2", [r"<think>\boxed{1}</think> The answer is 2.", r"<think>#### 1</think>\boxed{2}"]),
    ("1", [r"<think>So it is \boxed{1}", "<think>The answer is 1"]),
    (None, [r"<think>\boxed{1} #### 2</think> I do not know.", r"\boxed{1}</think>"]),
    (None, [r"<think>a</think>\boxed{1}<think>\boxed{2}</think> 3"]),
]


@pytest.mark.parametrize(("answer", "text"), [(answer, text) for answer, texts in STATEMENTS for text in texts])
def test_final_answer_is_found_in_a_box_in_tags_or_after_a_marker(answer, text):
    assert stated(text) == answer


def test_custom_markers_are_plain_text_and_apply_inside_tags():
    assert stated("Result (*) 5. The answer is 6", markers=("(*)",)) == "5"
    assert stated("result = 5", markers=("RESULT",)) == "5"
    assert stated("#### 5", markers=()) is None
    assert stated(r"#### 5 \boxed{6}", markers=()) == "6"
    assert stated("result5, results 6", markers=("result",)) is None
    assert stated("<answer>The answer is 6</answer>", markers=()) == "The answer is 6"
    assert stated("<answer>So: 6</answer>", markers=("so:",)) == "6"
    assert find_final_answer("So: 6", markers=["so:"]).text == "6"


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        (r"It is \boxed{\frac{1}{2}}, as said.", r"\boxed{\frac{1}{2}}"),
        (r"It is \boxed 5, as said.", r"\boxed 5"),
        ("The answer is $5$. Done", "answer is $5$"),
        ("The answer is 5. Done\nReally", "answer is 5"),
    ],
)
def test_span_covers_the_statement_from_box_or_marker_to_its_end(text, statement):
    found = find_final_answer(text)
    assert text[found.start : found.end] == statement


ATOMS = st.sampled_from(["a", "7", " ", "\n", r"\{", r"\}", "\\\\", r"\frac", "$", "#", ".", "é", r"\ ", "|"])
BALANCED = st.recursive(
    st.lists(ATOMS, max_size=5).map("".join),
    lambda inner: st.lists(st.one_of(ATOMS, inner.map(lambda text: "{" + text + "}")), max_size=5).map("".join),
    max_leaves=20,
)
WITHOUT_BRACES = st.lists(ATOMS, max_size=8).map("".join)


@given(content=BALANCED, before=WITHOUT_BRACES, after=WITHOUT_BRACES, open_braces=st.integers(0, 3))
def test_boxed_content_is_read_back_whatever_surrounds_it(content, before, after, open_braces):
    text = before + "{" * open_braces + " " + r"\boxed{" + content + "}" + after
    assert stated(text) == content.strip()


@given(boxes=st.lists(BALANCED, min_size=1, max_size=4), broken=BALANCED)
def test_an_unclosed_box_hides_no_other(boxes, broken):
    text = " ".join(rf"\boxed{{{content}}}" for content in boxes) + r" \boxed{" + broken
    answered = [content.strip() for content in boxes if not is_placeholder(content)]
    assert stated(text) == (answered[-1] if answered else boxes[-1].strip())


LONG: dict[str, Callable[[int], str]] = {
    "digits": lambda size: "7" * size,
    "spaces after a box": lambda size: r"\boxed" + " " * size,
    "boxes without content": lambda size: r"\boxed " * (size // 7),
    "opening braces": lambda size: "{" * (size // 10),
    "nested braces": lambda size: "{" * (size // 10) + "1" + "}" * (size // 10),
    "nested boxes": lambda size: r"\boxed{" * (size // 10) + "1",
    "nested boxes that are closed": lambda size: r"\boxed{" * (size // 10) + "1" + "}" * (size // 10),
    "closing braces": lambda size: "}" * (size // 10),
    "backslashes": lambda size: "\\" * (size + 1),
    "dollars after a marker": lambda size: "answer is " + "$" * (size + 1),
    "one dollar after a marker": lambda size: "answer is $" + "a" * size,
    "markers": lambda size: "the answer is " * (size // 14),
    "spaces after a marker": lambda size: "answer is" + " " * size,
    "sentences": lambda size: "answer is " + "a." * (size // 2),
    "thinking blocks": lambda size: "</think>" * (size // 8),
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_takes_linear_time(growth, name):
    assert not growth.superlinear_growth(find_final_answer, LONG[name], (10**6,))


@pytest.mark.parametrize("answer", ["7" * 40_000, "{" * 20_000 + "1" + "}" * 20_000])
def test_a_long_answer_is_not_truncated(answer):
    assert stated(rf"\boxed{{{answer}}}") == answer


def test_only_the_end_of_a_long_text_is_searched():
    answer, filler = r"\boxed{7}", " x" * (LONGEST_RESPONSE // 2)
    found = find_final_answer(f"{filler}{answer} is it")
    assert (found.text, found.start, found.end) == ("7", len(filler), len(filler + answer))
    assert stated(f"{answer}{filler}") is None
    assert stated(f"{answer}{filler[: -len(answer)]}") == "7"
    assert stated(f"<think>{filler}</think>{filler[:-20]}{answer}") == "7"
    assert stated(rf"\boxed{{{filler}}}") is None
    assert stated(f"#### 5{' ' * LONGEST_RESPONSE}") == "5"
    assert gsm8k_final_number([f"1{filler}", f"{filler}1"], ["#### 1"] * 2) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "answer", "from_statement"),
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
def test_last_statement_that_gives_the_answer_away_is_found(text, answer, from_statement):
    start = last_statement(text, answer)
    assert (None if start is None else text[start:]) == from_statement


@given(words=st.lists(st.sampled_from(["42", "42.5", "142", "x42", "4", "2", "-42", "42.", "(42)"]), max_size=8))
def test_without_a_statement_the_last_word_that_is_the_answer_is_found(words):
    text, expected = " ".join(words), None
    for i, word in enumerate(words):
        if word in ("42", "-42", "42.", "(42)"):
            expected = len(" ".join([*words[:i], ""])) + word.index("42")
    assert last_statement(text, "42") == expected


def test_a_very_long_answer_is_no_word():
    assert answer_as_word("7" * 1000).search("So " + "7" * 1000)
    assert answer_as_word("7" * 1001) is None


@given(answer=st.text("4.2ab+{\\#\n ", min_size=1, max_size=6))
def test_any_answer_is_found_as_a_word_of_its_own(answer):
    alone = answer.rpartition("####")[2].strip()
    word = answer_as_word(answer)
    assert (word is None) == (alone == "")
    if word is not None:
        assert [match.start() for match in word.finditer(f"< {alone} >")] == [2]
        assert not word.search(f"a{alone}a") or not re.match(r"\w", alone)
