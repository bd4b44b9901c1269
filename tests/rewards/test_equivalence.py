import pytest

from prefix_rft_trl.rewards.verification.equivalence import LONGEST, Verdict, is_readable, judge, settle


def verdict(answer: str, *golds: str) -> Verdict:
    return settle(answer, golds) or judge(answer, golds)


CASES = [  # a right answer, other forms of it, and wrong answers
    ("42", ["42", "42.0", "42."], ["43", "-42", "", "x", "4 2", "4,2", "forty-two"]),
    ("120", [], ["5"]),
    ("0.5", [".5", "1/2"], []),
    ("0.1", [], ["0.1001"]),
    (r"\dfrac{1}{2}", [r"\tfrac{2}{4}"], []),
    (r"\frac12", ["0.5"], []),
    (r"\frac{1}{2}", ["½"], ["12"]),
    (r"\frac{1}{3}", ["0.333333"], ["0.33"]),
    (r"\frac{1}{1000}", [], [r"\frac{1}{1001}"]),
    (r"-\frac{1}{2}", [r"\frac{-1}{2}"], []),
    ("-1", ["\N{MINUS SIGN}1"], []),
    ("1000", ["1,000"], []),
    ("1,000", [], ["1"]),
    ("1234", [], ["12,34"]),
    ("1 234", ["1234"], []),
    ("12345", ["12{,}345", r"12\,345"], []),
    ("1000000", [], ["1000001"]),
    ("12345678901234567890", [], ["12345678901234567891"]),
    ("100000", ["10^5"], []),
    ("1500", [r"1.5\times 10^{3}"], []),
    ("10^{-3}", ["0.001"], ["10^3"]),
    ("10^{20}", [], ["10^{20}+1"]),
    (r"7/2", [r"3\frac{1}{2}"], []),
    (r"3\frac{1}{2}", ["3 1/2"], [r"\frac{3}{2}"]),
    (r"-3\frac{1}{2}", ["-3.5"], []),
    (r"2^{2^{4}}", ["65536"], []),
    (r"2^{2^{10}}", ["4^{2^{9}}"], []),
    ("5!", ["120"], []),
    (r"\binom{5}{2}", ["10"], []),
    # Units, currencies, percentages
    ("5", ["5 cm", r"5\text{ cm}", "$5"], ["5.1 cm"]),
    ("5 cm", ["5"], []),
    (r"5\text{ cm}^2", ["5"], []),
    ("10", ["10 apples"], []),
    (r"\frac{3}{4}\text{ cup}", ["3/4"], []),
    (r"\$5", ["5"], []),
    ("5 dollars", [r"\$5"], []),
    (r"90^\circ", ["90"], [r"45^\circ"]),
    ("90", ["90°"], []),
    (r"50\%", ["0.5", "50"], ["5"]),
    ("50%", [r"50\%"], []),
    ("50", [], ["0.5"]),
    (r"5\%", ["0.05"], []),
    ("3:2", ["3/2"], ["2:3"]),
    ("11_2", [], ["11_3"]),
    ("52_8", ["52_{8}"], []),
    ("52_{8}", [], ["52_9"]),
    ("2A_{16}", ["2A_16"], []),
    # Roots, constants, algebra
    (r"2\sqrt{3}", [r"\sqrt{12}", "2√3"], []),
    (r"\frac{\sqrt{2}}{2}", [r"\frac{1}{\sqrt{2}}"], []),
    (r"\sqrt[3]{8}", ["2"], []),
    (r"\sqrt{2}", ["1.41421356"], ["1.414"]),
    (r"\frac{\pi}{2}", ["π/2"], []),
    (r"2\pi", [], ["6.28"]),
    (r"\log_2 8", ["3"], []),
    (r"\sin^2 x + \cos^2 x", ["1"], []),
    ("x", [], ["y"]),
    ("x_1", [], ["x_2"]),
    ("x^2", [], ["x^3"]),
    ("x^2+1", ["1+x^2"], []),
    ("(x+1)^2", ["x^2+2x+1"], ["x^2+1"]),
    (r"\frac{n(n+1)}{2}", [r"\frac{n^2+n}{2}"], []),
    ("|x-1|", ["|1-x|"], []),
    ("1 + m", ["m + 1"], ["1 + 2m"]),
    ("n - t", ["-t + n"], []),
    ("n + t", [], ["n"]),
    ("3+4i", ["4i+3"], ["3-4i"]),
    (r"\infty", ["∞"], [r"-\infty"]),
    # With and without the unknown
    ("5", ["x=5"], ["5x", "5=6", "x>5", r"x \neq 5", r"\frac{5}{0}"]),
    ("x=5", ["5"], []),
    ("x = b + m", ["m + b"], []),
    ("x^2+1", ["y=x^2+1"], []),
    ("y = x^2+1", ["x^2+1"], []),
    ("y=2x+1", [], ["x=2y+1"]),
    ("2x", ["f(x)=2x"], []),
    ("a_{n}=2^n", ["2^n"], []),
    # Several values, or more than asked for, or fewer
    ("5", [], ["5, 6", "5 or 6", r"6 \text{ or } 5", r"\{5, 6\}", "5;6"]),
    ("1,2", ["2,1"], ["1", "1,2,3"]),
    ("2,3", [], ["23"]),
    (r"\{1,2\}", ["2, 1"], []),
    ("x = 1 or x = 2", ["1, 2"], []),
    (r"3 \text{ or } 4", ["4, 3"], []),
    (r"\pm 2", ["2, -2"], ["2"]),
    ("2", [], [r"\pm 2"]),
    # Order, open and closed ends
    (r"(1,2)", [r"\left(1, 2\right)"], ["(2,1)", "[1,2]"]),
    (r"\left(3, \frac{\pi}{2}\right)", [r"(3, \frac{\pi}{2})"], []),
    ("(1,2),(3,4)", ["(3,4), (1,2)"], []),
    ("[0,1)", [r"x \in [0,1)", r"0 \le x < 1"], ["[0,1]", "(0,1]", r"0 < x < 1"]),
    (r"(-\infty,3)\cup(3,\infty)", [r"(3,\infty) \cup (-\infty,3)"], []),
    (r"(-\infty,3)", [], [r"(3,\infty)"]),
    (r"x > 3", [r"(3,\infty)"], []),
    ("x>3", [], [r"x\ge 3", "x<3"]),
    (r"(3,\infty)", ["x > 3"], [r"x \ge 3"]),
    (r"x = k\pi, k\in\mathbb{Z}", [r"k\pi, k \in \mathbb{Z}"], []),
    (r"x \le 3", [r"x \leq 3"], []),
    (r"\emptyset", ["∅"], ["0"]),
    (
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        [r"\begin{bmatrix}1\\2\end{bmatrix}"],
        [r"\begin{pmatrix}2\\1\end{pmatrix}"],
    ),
    # Words and choices
    ("A", ["(A)", r"\text{A}", r"\text{(A)}"], ["B", "AB"]),
    ("(A)", [r"\textbf{(A)}"], [r"\text{(B)}"]),
    (r"\mathrm{B}", ["B"], []),
    ("ABC", [], ["CBA"]),
    ("Evelyn", [r"\text{Evelyn}"], []),
    (r"\text{Evelyn}", ["evelyn"], []),
    ("east", [], ["seat", r"\text{west}"]),
    (r"\text{no solution}", ["No solution"], []),
    ("Yes", [r"\text{yes}"], []),
    ("yes", [], ["no"]),
    ("Monday", [], ["Mon"]),
    ("3", [r"\text{3}"], []),
    (r"\mathbf{5}", ["5"], []),
    ("5", ["**5**", r"\boxed{5}"], ["not 5", r"\text{not }5"]),
    ("$5$", ["5"], []),
    # A broken or unusual form equals itself
    (r"\text{A, B}", [r"\text{A, B}"], []),
    ("10:30", ["10:30"], []),
    (r"k\pi, k\in\mathbb{Z}", [r"k\pi, k\in\mathbb{Z}"], []),
]


@pytest.mark.parametrize(("gold", "answer"), [(gold, form) for gold, forms, _ in CASES for form in forms])
def test_a_right_answer_counts_in_any_form(gold, answer):
    assert verdict(answer, gold) is Verdict.EQUAL


@pytest.mark.parametrize(("gold", "answer"), [(gold, wrong) for gold, _, others in CASES for wrong in others])
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


@pytest.mark.parametrize(
    ("answer", "golds", "verdict"),
    [
        ("42", "1 42", "equal"),
        ("2.50", "5/2", "equal"),
        ("42", "1 43", "different"),
        ("", "42", "different"),
        ("", "x", None),
        ("42", "x", None),
        ("x", "42", None),
        ("0.333", "1/3", None),
        ("50", r"50\%", None),
        ("42", r"43 \sqrt{2}", None),
    ],
)
def test_whole_numbers_are_settled_and_algebra_is_left_to_a_worker(answer, golds, verdict):
    assert settle(answer, golds.split()) == verdict


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
