"""Right answers of public benchmarks, read from the folder that PREFIX_RFT_DATA names."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefix_rft_trl.rewards import MathAccuracyReward


FILES = sorted((Path(os.environ.get("PREFIX_RFT_DATA", "")) / "math_benchmarks").glob("*.jsonl"))
pytestmark = pytest.mark.skipif(
    not ("PREFIX_RFT_DATA" in os.environ and FILES), reason="PREFIX_RFT_DATA has no math_benchmarks"
)
OTHERS = 3


@pytest.fixture(scope="module")
def reward() -> Iterator[MathAccuracyReward]:
    made = MathAccuracyReward()
    with made.verifier:
        yield made


def read_golds(file: Path) -> list[object]:
    return [json.loads(line)["answer"] for line in file.read_text(encoding="utf-8").splitlines()]


def boxed(answers: list[object]) -> list[str]:
    return [rf"Therefore the answer is $\boxed{{{str(answer).replace('$', '')}}}$." for answer in answers]


def answers_of_other_problems(golds: list[object], seed: int) -> list[object]:
    """For each problem a different answer, from another problem."""
    rng = random.Random(seed)
    return [rng.choice([other for other in golds if str(other) != str(gold)]) for gold in golds]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bare_right_answer_is_accepted_in_a_box(reward, file):
    golds = read_golds(file)
    rewards = reward(completions=boxed(golds), solution=golds)
    rejected = [(gold, found) for gold, found in zip(golds, rewards, strict=True) if found != 1.0]
    print(f"{file.stem}: {len(golds) - len(rejected)} of {len(golds)} accepted, rejected: {rejected}")
    assert len(rejected) <= 0.005 * len(golds)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_answer_of_another_problem_is_not_rewarded(reward, file):
    golds = read_golds(file) * OTHERS
    others = [other for seed in range(OTHERS) for other in answers_of_other_problems(read_golds(file), seed)]
    rewards = reward(completions=boxed(others), solution=golds)
    accepted = [pair for *pair, found in zip(golds, others, rewards, strict=True) if found == 1.0]
    print(f"{file.stem}: {len(accepted)} of {len(golds)} accepted: {accepted}, {rewards.count(None)} without a reward")
    assert len(accepted) <= 0.001 * len(golds)
    assert rewards.count(None) <= 0.005 * len(golds)
