from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.rewards.verification.normal_form import normal_form, plain_number, words


NORMAL_FORMS = [
    ("42", ["42", " 42. ", "$42$", "$$ 42 $$", "**42**", r"42\!", r"\displaystyle 42"]),
    (r"42 \text{ dollars}", [r"\$42", "$42", r"42\$"]),
    ("( 1, 2 )", [r"\left( 1, 2 \right)"]),
    ("[1]", [r"\bigl[1\bigr]"]),
    ("x|", [r"\left.x\right|"]),
    ("-3", ["\N{MINUS SIGN}3"]),
    ("12345", ["12,345", "12{,}345", r"12\,345"]),
    ("-1234567.5", ["-1,234,567.5"]),
    (r"\frac{1}{2}", ["½"]),
    (r"2\sqrt{3}", ["2√3"]),
    (r"\sqrt{x+1}", ["√(x+1)"]),
    (r"90^{\circ}", ["90°"]),
    ("x^2", ["x²"]),
    (r"3\frac{1}{2}", ["3 1/2"]),
    (r"10\text{ apples}", ["10 apples"]),
    (r"10\text{ square feet}", ["10 square feet"]),
    *((kept, [kept]) for kept in ("1,23", "1, 234", "(1,234)", "1234,567", "10 x", r"\leftarrow", r"\quadratic")),
]


@pytest.mark.parametrize(("expected", "written"), [(form, text) for form, texts in NORMAL_FORMS for text in texts])
def test_decorations_of_an_answer_are_removed(expected, written):
    assert " ".join(normal_form(written).split()) == expected


@given(st.text(max_size=40))
def test_any_text_has_a_normal_form(text):
    once = normal_form(text)
    assert "$" not in once
    assert once == once.strip()
    plain_number(once)
    words(once)


@pytest.mark.parametrize(
    "piece",
    ["7", "7,", "1,234", "7 ", "7 aa", "√(", "√ ", r"\text{", "a b", "a", ".", "/1", r"\left", "½", "$", "(", "- "],
)
def test_a_long_answer_takes_linear_time(growth, piece):
    def read(text: str) -> None:
        form = normal_form(text)
        plain_number(form)
        words(form)

    for before, after in (("", ""), ("5 ", "!")):
        text_of = lambda size, before=before, after=after: before + piece * (size // len(piece)) + after  # noqa: E731
        assert not growth.superlinear_growth(read, text_of, (10**5,))


INTEGER = st.integers(-(10**30), 10**30)
DECIMAL = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12)


@given(INTEGER)
def test_an_integer_is_read_in_each_notation(number):
    for written in (str(number), f"{number:,}", f"{number:,}".replace(",", "{,}"), f"{number:,}".replace(",", r"\,")):
        assert plain_number(normal_form(written)) == number
        assert plain_number(normal_form(f"${written}$.")) == number


@given(DECIMAL)
def test_a_decimal_is_read_exactly(number):
    for written in (f"{number:f}", f"{number:,f}"):
        assert plain_number(normal_form(written)) == Fraction(number)


@given(numerator=INTEGER, denominator=st.integers(1, 10**20))
def test_a_fraction_is_read_exactly(numerator, denominator):
    sign = "-" if numerator < 0 else ""
    parts = f"{{{abs(numerator)}}}{{{denominator}}}"
    for written in (f"{numerator}/{denominator}", *(rf"{sign}\{name}{parts}" for name in ("frac", "dfrac", "tfrac"))):
        assert plain_number(normal_form(written)) == Fraction(numerator, denominator)


@pytest.mark.parametrize(
    ("text", "value"),
    [("007", 7), (".5", Fraction(1, 2)), ("5.", 5), ("+5", 5), ("-.25", Fraction(-1, 4)), ("-0", 0)],
)
def test_unusual_notation_of_a_number_is_read(text, value):
    assert plain_number(text) == value


MALFORMED = ["", "-", ".", "1.2.3", "5 6", "--5", "1/0", r"\frac{1}{0}", "1/2/3"]
OTHER_NOTATIONS = ["1e5", "0x10", "1_000", "٤٢", "²", "5x", "5%", "x", "1,2"]


@pytest.mark.parametrize("text", [*MALFORMED, *OTHER_NOTATIONS, "9" * 4001, "1" * 10**6])
def test_anything_but_a_plain_number_is_left_to_algebra(text):
    assert plain_number(text) is None


WORDS = [
    ("evelyn", ["Evelyn", r"\text{Evelyn}"]),
    ("east", [r"\textbf{ East }"]),
    ("not a number", ["not  a number"]),
    ("even-odd", ["even-odd"]),
    ("a", ["A", "(A)", r"\text{(A)}", r"\text{A}", r"(\text{A})"]),
    ("c", [r"\mathrm{(C)}"]),
    ("no", [r"\text{no}"]),
    ("évry", ["Évry"]),
    ("答案是", ["答案是"]),
]


@pytest.mark.parametrize(("expected", "text"), [(word, text) for word, texts in WORDS for text in texts])
def test_words_are_recognised_whatever_their_markup(expected, text):
    assert words(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "ab", "xy", "(x)", "5", "x + y", r"\pi", r"\sin x", "5 apples", r"\text{5}", "()", "f(x)"]
)
def test_formulas_are_not_words(text):
    assert words(text) is None
