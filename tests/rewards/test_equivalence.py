import pytest

from prefix_rft_trl.rewards.verification.equivalence import LONGEST, Verdict, is_readable, judge, settle


def verdict(answer: str, *golds: str) -> Verdict:
    return settle(answer, golds) or judge(answer, golds)


EQUAL = [  # a right answer and another form of it
    ("42", "42"),
    ("42", "42.0"),
    ("42", "42."),
    ("0.5", ".5"),
    ("0.5", "1/2"),
    (r"\dfrac{1}{2}", r"\tfrac{2}{4}"),
    (r"\frac12", "0.5"),
    (r"\frac{1}{2}", "½"),
    (r"\frac{1}{3}", "0.333333"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    ("-1", "\N{MINUS SIGN}1"),
    ("1000", "1,000"),
    ("12345", "12{,}345"),
    ("12345", r"12\,345"),
    ("1 234", "1234"),
    ("100000", "10^5"),
    ("1500", r"1.5\times 10^{3}"),
    ("10^{-3}", "0.001"),
    (r"7/2", r"3\frac{1}{2}"),
    (r"3\frac{1}{2}", "3 1/2"),
    (r"-3\frac{1}{2}", "-3.5"),
    (r"2^{2^{4}}", "65536"),
    (r"2^{2^{10}}", "4^{2^{9}}"),
    ("5!", "120"),
    (r"\binom{5}{2}", "10"),
    # Units, currencies, percentages
    ("5", "5 cm"),
    ("5 cm", "5"),
    ("5", r"5\text{ cm}"),
    (r"5\text{ cm}^2", "5"),
    ("10", "10 apples"),
    (r"\frac{3}{4}\text{ cup}", "3/4"),
    ("5", "$5"),
    (r"\$5", "5"),
    ("5 dollars", r"\$5"),
    (r"90^\circ", "90"),
    ("90", "90°"),
    (r"50\%", "0.5"),
    (r"50\%", "50"),
    ("50%", r"50\%"),
    (r"5\%", "0.05"),
    # Roots, constants, algebra
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"2\sqrt{3}", "2√3"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    (r"\sqrt[3]{8}", "2"),
    (r"\sqrt{2}", "1.41421356"),
    (r"\frac{\pi}{2}", "π/2"),
    (r"\log_2 8", "3"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("x^2+1", "1+x^2"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}"),
    ("|x-1|", "|1-x|"),
    ("1 + m", "m + 1"),
    ("n - t", "-t + n"),
    ("x = b + m", "m + b"),
    ("3+4i", "4i+3"),
    (r"\infty", "∞"),
    # With and without the unknown
    ("5", "x=5"),
    ("x=5", "5"),
    ("x^2+1", "y=x^2+1"),
    ("y = x^2+1", "x^2+1"),
    ("2x", "f(x)=2x"),
    ("a_{n}=2^n", "2^n"),
    # Several values
    ("1,2", "2,1"),
    (r"\{1,2\}", "2, 1"),
    ("x = 1 or x = 2", "1, 2"),
    (r"3 \text{ or } 4", "4, 3"),
    (r"\pm 2", "2, -2"),
    (r"(1,2)", r"\left(1, 2\right)"),
    (r"\left(3, \frac{\pi}{2}\right)", r"(3, \frac{\pi}{2})"),
    ("(1,2),(3,4)", "(3,4), (1,2)"),
    (r"[0,1)", r"x \in [0,1)"),
    (r"(-\infty,3)\cup(3,\infty)", r"(3,\infty) \cup (-\infty,3)"),
    (r"x > 3", r"(3,\infty)"),
    (r"(3,\infty)", "x > 3"),
    ("[0,1)", r"0 \le x < 1"),
    (r"x = k\pi, k\in\mathbb{Z}", r"k\pi, k \in \mathbb{Z}"),
    (r"x \le 3", r"x \leq 3"),
    (r"\emptyset", "∅"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    ("3:2", "3/2"),
    ("52_8", "52_{8}"),
    ("2A_{16}", "2A_16"),
    # Words and choices
    ("A", "(A)"),
    ("A", r"\text{A}"),
    ("A", r"\text{(A)}"),
    ("(A)", r"\textbf{(A)}"),
    (r"\mathrm{B}", "B"),
    ("Evelyn", r"\text{Evelyn}"),
    (r"\text{Evelyn}", "evelyn"),
    (r"\text{no solution}", "No solution"),
    ("Yes", r"\text{yes}"),
    ("3", r"\text{3}"),
    (r"\mathbf{5}", "5"),
    ("5", "**5**"),
    ("$5$", "5"),
    ("5", r"\boxed{5}"),
    # A broken or unusual form equals itself
    (r"\text{A, B}", r"\text{A, B}"),
    ("10:30", "10:30"),
    (r"k\pi, k\in\mathbb{Z}", r"k\pi, k\in\mathbb{Z}"),
]


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_a_right_answer_counts_in_any_form(gold, answer):
    assert verdict(answer, gold) is Verdict.EQUAL


DIFFERENT = [
    ("42", "43"),
    ("42", "-42"),
    ("42", ""),
    ("42", "x"),
    ("42", "4 2"),
    ("42", "4,2"),
    ("1234", "12,34"),
    ("1,000", "1"),
    ("1000000", "1000001"),
    ("12345678901234567890", "12345678901234567891"),
    ("10^{20}", "10^{20}+1"),
    ("10^{-3}", "10^3"),
    ("0.1", "0.1001"),
    (r"\frac{1}{3}", "0.33"),
    (r"\frac{1}{1000}", r"\frac{1}{1001}"),
    (r"\sqrt{2}", "1.414"),
    (r"2\pi", "6.28"),
    (r"\frac{1}{2}", "12"),
    (r"3\frac{1}{2}", r"\frac{3}{2}"),
    ("120", "5"),
    ("5", r"\frac{5}{0}"),
    ("5", "5.1 cm"),
    (r"90^\circ", r"45^\circ"),
    (r"50\%", "5"),
    ("50", "0.5"),
    ("3:2", "2:3"),
    ("11_2", "11_3"),
    ("52_{8}", "52_9"),
    # More values than asked for, or fewer
    ("5", "5, 6"),
    ("5", "5 or 6"),
    ("5", r"6 \text{ or } 5"),
    ("5", r"\{5, 6\}"),
    ("5", "5;6"),
    ("5", "5=6"),
    ("5", "x>5"),
    ("5", r"x \neq 5"),
    ("1,2", "1"),
    ("1,2", "1,2,3"),
    (r"\pm 2", "2"),
    ("2", r"\pm 2"),
    ("2,3", "23"),
    # Order, open and closed ends
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1)", "[0,1]"),
    ("[0,1)", "(0,1]"),
    ("x>3", r"x\ge 3"),
    ("x>3", "x<3"),
    (r"(3,\infty)", r"x \ge 3"),
    ("[0,1)", r"0 < x < 1"),
    (r"(-\infty,3)", r"(3,\infty)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"\infty", r"-\infty"),
    (r"\emptyset", "0"),
    # Algebra
    ("x", "y"),
    ("x_1", "x_2"),
    ("x^2", "x^3"),
    ("5", "5x"),
    ("1 + m", "1 + 2m"),
    ("n + t", "n"),
    ("3+4i", "3-4i"),
    ("y=2x+1", "x=2y+1"),
    ("(x+1)^2", "x^2+1"),
    # Words and choices
    ("east", "seat"),
    ("east", r"\text{west}"),
    ("ABC", "CBA"),
    ("A", "B"),
    ("A", "AB"),
    ("(A)", r"\text{(B)}"),
    ("yes", "no"),
    ("Monday", "Mon"),
    ("5", "not 5"),
    ("5", r"\text{not }5"),
    ("42", "forty-two"),
]


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_a_wrong_answer_does_not_count(gold, answer):
    assert verdict(answer, gold) is Verdict.DIFFERENT


@pytest.mark.parametrize("answer", ["2", r"\frac{4}{2}", r"\sqrt{3}", "east"])
def test_any_of_several_right_answers_counts(answer):
    golds = ("2", "???", r"\sqrt{3}", "east")
    assert verdict(answer, *golds) is Verdict.EQUAL
    assert verdict(answer, *reversed(golds)) is Verdict.EQUAL


@pytest.mark.parametrize("answer", ["3", "2, 3", r"\sqrt{2}", "seat", ""])
def test_none_of_several_right_answers_counts(answer):
    assert verdict(answer, "2", "???", r"\sqrt{3}", "east") is Verdict.DIFFERENT


UNREADABLE = ["", "  ", "$$", "???", "...", "-", "!", "()", "{}", r"\frac{1}{2", r"\frac{1}{", "5}", "}{", r"\text{}"]
PROSE = ["The proof follows from the definition of a limit", r"\text{see the diagram above for the shape}"]


@pytest.mark.parametrize("gold", [*UNREADABLE, *PROSE, "x + " * LONGEST + "1"])
def test_an_unreadable_right_answer_is_reported_rather_than_counted_against_responses(gold):
    assert not is_readable(gold)
    assert verdict("42", gold) is Verdict.UNREADABLE_GOLD
    assert verdict("", gold, gold) is Verdict.UNREADABLE_GOLD
    assert verdict(gold, gold) is Verdict.UNREADABLE_GOLD


@pytest.mark.parametrize(
    "gold",
    ["42", "0", r"\dfrac{1}{2}", "A", "no solution", r"k\pi, k\in\mathbb{Z}", "10:30", r"\infty", r"\{\}", "答案"],
)
def test_a_right_answer_of_a_common_kind_is_readable(gold):
    assert is_readable(gold)


@pytest.mark.parametrize(
    "answer",
    ["7" * (LONGEST + 1), "(" * 41 + "1" + ")" * 41, r"\sqrt{" * 41 + "2" + "}" * 41, "9^{9^{9^{9}}}", "(10^{10})!"],
)
def test_an_answer_too_large_to_compute_with_is_refused(answer):
    assert verdict(answer, r"\sqrt{2}") is Verdict.REFUSED


def test_whole_numbers_are_settled_without_algebra():
    assert settle("42", ("1", "42")) is Verdict.EQUAL
    assert settle("2.50", ("5/2",)) is Verdict.EQUAL
    assert settle("42", ("1", "43")) is Verdict.DIFFERENT
    assert settle("", ("42",)) is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("answer", "golds"),
    [("0.333", "1/3"), ("42", "x"), ("x", "42"), ("42", r"43 \sqrt{2}"), ("", "x"), ("50", r"50\%")],
)
def test_answers_that_need_algebra_are_left_to_a_worker(answer, golds):
    assert settle(answer, golds.split()) is None


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"1.6\times 10^{-19}", r"3.2\times 10^{-19}", "different"),
        ("0.0000001", "0.0000002", "different"),
        ("4.5e33", r"4.5 \times 10^{33}", "equal"),
        ("2000", "2e3", "equal"),
        (r"\binom{100000}{2}", r"\binom{100000}{2}", "equal"),
        ("2^{2^{2^{2}}}", "16", "refused"),
        ("(0,1)", r"\{0,1\}", "different"),
        ("(-1,1)", r"\pm 1", "different"),
        (r"\frac{a}{b}", r"\frac ab", "equal"),
        (r"\frac{1}{2}", r"\frac12", "equal"),
        ("10", r"10^\circ C", "equal"),
        ("7", "= 7", "equal"),
        (r"\emptyset", r"\varnothing", "equal"),
        ("C", r"\textbf{(C)}\ 12", "equal"),
        ("C", "(D) 12", "different"),
        (r"\sqrt{2}-\sqrt{2}", "0", "equal"),
    ],
)
def test_notation_and_magnitude_of_a_number_do_not_decide(gold, answer, verdict):
    assert judge(answer, (gold,)) == verdict
