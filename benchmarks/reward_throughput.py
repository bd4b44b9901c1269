"""Answers a second of `math_accuracy_reward`, beside TRL's `accuracy_reward`, on the same responses in one run.

    python benchmarks/reward_throughput.py
    python benchmarks/reward_throughput.py --golds FOLDER

Without `--golds` the right answers are generated: whole numbers, fractions, decimals, radicals, tuples, intervals,
sets and polynomials. With it they come from the column `answer` of the JSONL files of a folder. TRL's reward gets
them in dollar signs, which it needs to read them.

Each measurement is a process of its own, and the two rewards take turns. Before the clock starts each has verified 128
other answers of the same kinds, so that workers are up and parsers warm; nothing that is timed was seen before.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prefix_rft_trl.rewards import MathAccuracyReward, Verifier


GROUP = 8
WARM_UP = 128
WORKING = (
    "Let us write down what is known. We have $a_{n+1} = 2a_n + 1$ and $a_1 = 3$, so $a_2 = 7$ and "
    r"$\frac{a_2}{a_1} = \frac{7}{3}$. Next we look at the second condition, which says that the sum is even. "
) * 6

Responses = list[tuple[str, str]]  # of an answer and the right one


def generated_golds(number: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    kinds: list[Callable[[int, int, int], str]] = [
        lambda a, b, c: f"{a * 97 + b}",
        lambda a, b, c: f"{a}{b % 10}",
        lambda a, b, c: f"-{a * 31 + c}",
        lambda a, b, c: rf"\frac{{{a}}}{{{b}}}",
        lambda a, b, c: f"{a}.{b}",
        lambda a, b, c: rf"{a}\sqrt{{{b}}}",
        lambda a, b, c: rf"\left({a}, \frac{{\pi}}{{{b}}}\right)",
        lambda a, b, c: f"[{a}, {a + b})",
        lambda a, b, c: rf"\{{{a}, {b}, {a + b + c}\}}",
        lambda a, b, c: f"{a}x^2 + {b}x - {c}",
    ]
    seen: set[str] = set()
    while len(seen) < number:
        gold = rng.choice(kinds)(*(rng.randint(2, 400) for _ in range(3)))
        if gold not in seen:
            seen.add(gold)
            yield gold


def golds_of_files(folder: Path) -> list[str]:
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jsonl"))]
    rows = (json.loads(line) for text in texts for line in text.splitlines())
    return list(dict.fromkeys(str(row["answer"]).replace("$", "") for row in rows))


def all_different(golds: list[str], number: int, seed: int) -> Responses:
    """Half of the responses are right; the other half box the answer of another problem, each a different one."""
    rng = random.Random(seed)
    golds = rng.sample(golds, min(number, len(golds)))
    pairs = [(gold, gold) if place % 2 else (golds[place - 2], gold) for place, gold in enumerate(golds)]
    while len(pairs) < number:
        pair = (rng.choice(golds), rng.choice(golds))
        pairs += [pair] if pair not in pairs else []
    return pairs


def half_the_same(golds: list[str], number: int, seed: int) -> Responses:
    """Half of each group gives the right answer, the others four different wrong ones."""
    rng = random.Random(seed)
    groups = ((gold, rng.sample(golds, GROUP // 2)) for gold in rng.sample(golds, number // GROUP))
    return [(answer, gold) for gold, others in groups for answer in [gold] * (GROUP - GROUP // 2) + others]


def seconds_of(reward: Callable[..., list[float | None]], responses: Responses) -> tuple[float, list[float | None]]:
    completions = [
        [{"role": "assistant", "content": rf"{WORKING}The answer is $\boxed{{{answer}}}$."}] for answer, _ in responses
    ]
    solutions = [f"${gold}$" for _, gold in responses]
    start = time.perf_counter()
    rewards = reward(completions=completions, solution=solutions)
    return time.perf_counter() - start, rewards


CASES = {"all different": all_different, "half of a group the same": half_the_same}


def measure(reward_name: str, case: str, golds: list[str], number: int) -> dict[str, Any]:
    from trl.rewards import accuracy_reward

    reward = MathAccuracyReward() if reward_name == "ours" else accuracy_reward
    seconds_of(reward, all_different(golds[:WARM_UP], WARM_UP, seed=3))
    seconds, rewards = seconds_of(reward, CASES[case](golds[WARM_UP:], number, seed=1))
    return {"seconds": seconds, "rewards": rewards, "workers": getattr(reward, "verifier", Verifier()).num_workers}


def in_a_process(reward_name: str, case: str, arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", reward_name, "--case", case, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golds", type=Path, help="folder of JSONL files with a column `answer`")
    parser.add_argument("--number", type=int, default=1024, help="responses (1024)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement, of which the median counts (3)")
    parser.add_argument("--measure", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        enough = arguments.number + WARM_UP
        golds = golds_of_files(arguments.golds) if arguments.golds else list(generated_golds(enough, seed=0))
        random.Random(0).shuffle(golds)
        print(json.dumps(measure(arguments.measure, arguments.case, golds, arguments.number)))
        return
    print(f"{'answers':26}{'workers':>9}{'a second':>11}{'TRL':>8}{'ratio':>8}{'agree':>8}")
    for case in CASES:
        runs = [
            {name: in_a_process(name, case, sys.argv[1:]) for name in ("ours", "trl")}
            for _ in range(arguments.repeats)
        ]
        ours, trl = (statistics.median(run[name]["seconds"] for run in runs) for name in ("ours", "trl"))
        pairs = zip(runs[0]["ours"]["rewards"], runs[0]["trl"]["rewards"], strict=True)
        agree = sum(one == other for one, other in pairs) / arguments.number
        print(
            f"{case:26}{runs[0]['ours']['workers']:>9}{arguments.number / ours:>11.0f}{arguments.number / trl:>8.0f}"
            f"{trl / ours:>8.1f}{agree:>8.1%}"
        )


if __name__ == "__main__":
    main()
