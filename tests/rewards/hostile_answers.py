"""Answers that hang, crash or fool an unprepared reward.

    python tests/rewards/hostile_answers.py SECONDS

scores them with that time limit, and prints verdicts and duration as JSON.
"""

import json
import sys
import time
from collections.abc import Callable


TOWER = "9^{9^{9^{9}}}"
# These run into the time limit. The last is a single call of C that takes 20 seconds: the greatest common divisor of
# two numbers of 1.4 million digits. It can only be stopped by ending its worker.
SLOW = {
    "triple integral": r"\int_0^1\int_0^1\int_0^1 \frac{\sin(xyz)^{17}}{1+x^{99}} dx dy dz",
    "huge degrees": r"|x|^{1000}+|y|^{1000}+\sin(\cos(\tan(|x|^{77})))",
    "divisor of huge numbers": r"\frac{3^{\frac{n}{n} \cdot 3000000}+1}{2^{\frac{n}{n}\cdot 4753000}+1}",
}
HOSTILE = SLOW | {
    # Powers
    "tower": TOWER,
    "tower without braces": "9^9^9^9",
    "tower of tens": "10^{10^{10^{10}}}",
    "tower of many": "2" + "^{2" * 30 + "}" * 30,
    "power": "2^{10000000000}",
    "negative power": "(-3)^{7^{7^{7}}}",
    "quotient of a tower": rf"\frac{{1}}{{{TOWER}}}",
    "root of a tower": rf"\sqrt{{{TOWER}}}",
    "logarithm of a tower": rf"\log({TOWER})",
    "remainder of a tower": rf"{TOWER} \bmod 7",
    "tower in an interval": f"[0, {TOWER})",
    "tower of percents": rf"{TOWER}\%",
    "mixed number with a tower": rf"3\frac{{{TOWER}}}{{4}}",
    "tower of pi": r"\pi^{\pi^{\pi^{\pi^{\pi}}}}",
    "tower of i": "i^{i^{i^{99999999999}}}",
    "tower of e": "e^{e^{e^{e^{10}}}}",
    "exponentials": r"\exp(\exp(\exp(100)))",
    "long expansion": "(a+b+c+d+e)^{1000}",
    "equation of huge degrees": r"x^{1000}+y^{1000}=z^{1000}+\sin(\cos(\tan(x^{77})))",
    "high powers that cancel": "(1+x)^{100000}-(1+x)^{100000}",
    "scientific": "1e1000000000",
    "scientific power": r"5 \times 10^{999999999999}",
    "high roots": r"\sqrt[1000]{2^{1000}+3^{1000}+5^{1000}} - \sqrt[999]{2^{999}+7}",
    # Factorials, binomials, sums, limits
    "factorial": "(10^{10})!",
    "factorial of digits": "99999999999!",
    "factorials of factorials": "((((9!)!)!)!)",
    "gamma": r"\Gamma(10^{10})",
    "binomial": r"\binom{99999999}{49999999}",
    "binomial of powers": r"\binom{10^{12}}{10^{6}}",
    "sum": r"\sum_{k=1}^{10^{12}} \frac{1}{k^2+1}",
    "sum of powers": r"\sum_{k=1}^{1000000000000} k^k",
    "product": r"\prod_{k=1}^{10^{12}} \left(1+\frac{1}{k}\right)",
    "limit": r"\lim_{n \to \infty} \left(\sum_{k=1}^{n} \frac{\sin(k^{k})}{k!}\right)^{n!}",
    "improper integral": r"\int_0^\infty e^{-x^{x^{x}}} \sin(x^3) dx",
    "angles": r"\sin(\cos(\tan(\sin(\cos(\tan(10^{1000}))))))",
    "degrees": r"\sin(10^{10^{10}}^\circ)",
    "floor": r"\lfloor 10^{10^{8}} \pi \rfloor",
    "absolute value": f"|{TOWER}|",
    # Long and deep
    "nested braces": "{" * 100_000 + "1" + "}" * 100_000,
    "nested parentheses": "(" * 100_000 + "1" + ")" * 100_000,
    "nested fractions": r"\frac{1}{" * 2000 + "1" + "}" * 2000,
    "nested roots": r"\sqrt{" * 500 + "2" + "}" * 500,
    "nested boxes": r"\boxed{" * 5000 + "1" + "}" * 5000,
    "continued fraction": r"1+\cfrac{1}{" * 60 + "2" + "}" * 60,
    "megabyte of digits": "7" * 1_000_000,
    "megabyte of decimals": "0." + "3" * 1_000_000,
    "twenty thousand digits": "7" * 20_000,
    "large prime": str(2**4253 - 1),
    "long sum": "+".join(["1"] * 20_000),
    "long sum of symbols": "+".join(f"x_{{{index}}}" for index in range(3000)),
    "sum of roots": "+".join(rf"\sqrt{{{p}}}" for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)),
    "quotient of roots": r"\frac{1}{" + "+".join(rf"\sqrt{{{p}}}" for p in (2, 3, 5, 7, 11, 13, 17)) + "}",
    "many numbers": ",".join(map(str, range(50_000))),
    "set of roots": r"\{" + ",".join(rf"\sqrt{{{index}}}" for index in range(300)) + r"\}",
    "matrix": r"\begin{pmatrix}" + r"\\".join(["&".join(["x^{2}"] * 40)] * 40) + r"\end{pmatrix}",
    "long text": r"\text{" + "a" * 500_000 + "}",
    "markers": "the answer is " * 20_000,
    # Degenerate, as a policy that repeats itself writes them
    "blanks": "5" + " " * 40_000,
    "lines": "5" + "\n" * 40_000,
    "degrees and blanks": r"^\circ" + " " * 900 + "x",
    "many degrees": r"^\circ " * 270,
    "thinking tags": "<think>" * 5_000,
    "answer tags": "<answer>" * 5_000,
    "many boxes": r"\boxed{7}" * 5_000,
    "unknowns": "_x" * 950 + "=5",
    "equality signs": "x=" * 950 + "5",
    "commas": "1," * 950 + "2",
    "words": "so " * 600,
    # Broken
    "control characters": "".join(map(chr, range(32))) + "5",
    "zero bytes": "\x00" * 1000 + "1",
    "lone surrogate": "\ud800",
    "unbalanced fraction": r"\frac{1}{2",
    "unbalanced braces": r"}}}}\left(\frac{{{",
    "unbalanced box": r"1}\boxed{2",
    "backslashes": "\\" * 100_001,
    "dollars": "$" * 100_001,
    "semicolons": ";" * 100_000,
    # Nothing
    "no answer": None,
    "empty": "",
    "spaces": "   ",
    "the word None": "None",
    "not a number": "nan",
    "infinity": r"\infty",
    "division by zero": r"\frac{1}{0}",
    # Other scripts, and code
    "Chinese": "答案是四十二",
    "Arabic digits": "٤٢",
    "full-width digits": "\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}",
    "emoji": "🤖" * 1000,
    "from right to left": "\u202e24",
    "call": "__import__('os').system('sleep 30')",
    "lambda": "(lambda: [0 for _ in iter(int, 1)])()",
    "power of Python": "10**10**10",
    "shift of Python": "1<<10**12",
}
GOLD = r"\frac{\sqrt{43}}{2}"


def score_all(score: Callable[[list[str | None]], list]) -> tuple[dict[str, object], float]:
    """The result of each answer, and the seconds that all took together."""
    start = time.perf_counter()
    results = score([*HOSTILE.values()])
    return dict(zip(HOSTILE, results, strict=True)), time.perf_counter() - start


def main() -> None:
    from prefix_rft_trl.rewards import Verifier

    with Verifier(num_workers=len(SLOW) + 1, time_limit=float(sys.argv[1])) as verifier:
        verifier.verify([(f"x + {number}", (f"{number} + x",)) for number in range(20)])
        print("ready", flush=True)
        sys.stdin.readline()
        verdicts, seconds = score_all(lambda answers: verifier.verify([(answer, (GOLD,)) for answer in answers]))
        after = verifier.verify([("y + 1", ("1 + y",)), (r"\frac{\sqrt{172}}{4}", (GOLD,)), ("y", ("z",))])
    print(json.dumps({"verdicts": verdicts, "seconds": seconds, "after": after}))


if __name__ == "__main__":
    main()
