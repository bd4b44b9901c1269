"""Kinds of answers that a verifier misreads: each right answer with other forms of it, and with wrong answers."""

import json
import os
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.rewards import MathAccuracyReward
from prefix_rft_trl.rewards.answers import acceptable_golds, stated_answer
from prefix_rft_trl.rewards.verification.equivalence import Verdict, judge, settle


KINDS = yaml.safe_load(Path(__file__).with_name("answer_kinds.yaml").read_text(encoding="utf-8"))
RIGHT = [(row["gold"], form) for rows in KINDS.values() for row in rows for form in row.get("right", ())]
WRONG = [(row["gold"], other) for rows in KINDS.values() for row in rows for other in row["wrong"]]


def verdict(answer: str, gold: str) -> Verdict:
    golds = acceptable_golds(gold)
    return settle(answer, golds) or judge(answer, golds)


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_another_form_of_a_right_answer_counts(gold, answer):
    assert verdict(answer, gold) is Verdict.EQUAL


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_a_part_or_another_answer_does_not_count(gold, answer):
    assert verdict(answer, gold) is not Verdict.EQUAL


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_at_least_ten_forms_and_each_right_answer_equals_itself(kind):
    assert sum(len(row.get("right", ())) + len(row["wrong"]) for row in KINDS[kind]) >= 10
    assert [row["gold"] for row in KINDS[kind] if verdict(row["gold"], row["gold"]) is not Verdict.EQUAL] == []


MENTIONS = [  # what a text states, and texts that also mention where an answer goes
    ("6", [r"\boxed{6}. I put it into \boxed as you asked.", r"Use \boxed for the answer: \boxed{6}"]),
    ("6", [r"\boxed{6} \boxed{}", r"It is \boxed{6} (in a \boxed{ } as wanted).", r"\boxed{6}\boxed{...}"]),
    ("6", [r"\boxed{6}. Put your final answer within \boxed{}.", r"\boxed{6} is my \boxed{answer}"]),
    ("6", [r"The form is \boxed{your answer here}: \boxed{6}", r"\boxed{6}, as \boxed{\text{your final answer}}"]),
    ("6", ["The answer is 6. I do not know what \\boxed means.", "The answer is 6. (\\boxed{})"]),
    (
        "6",
        ["<answer>6</answer>, that is <answer></answer>", "#### 6\n####", r"\boxed{6} <answer>your answer</answer>"],
    ),
    ("7", [r"\boxed{7}. I put 6 into \boxed at first.", r"\boxed 7 is it", r"$\boxed 7$"]),
    ("C", [r"\boxed C.", r"so $\boxed C$"]),
    ("", [r"\boxed{}", r"\boxed{} and \boxed{}"]),
    ("answer", [r"\boxed{answer}"]),
]


@pytest.mark.parametrize(("answer", "text"), [(answer, text) for answer, texts in MENTIONS for text in texts])
def test_a_mention_of_the_box_shadows_no_answer(answer, text):
    assert stated_answer(text) == answer


FORMS = Path(os.environ.get("PREFIX_RFT_DATA", "")) / "reward_forms.jsonl"
LEAST_RIGHT, MOST_FALSE_ACCEPTS = 130, 3  # of 142


@pytest.mark.skipif(not ("PREFIX_RFT_DATA" in os.environ and FORMS.exists()), reason="no PREFIX_RFT_DATA")
def test_forms_that_verifiers_misread_are_judged_right():
    rows = [json.loads(line) for line in FORMS.read_text(encoding="utf-8").splitlines()]
    reward = MathAccuracyReward(num_workers=2)
    with reward.verifier:
        rewards = reward(completions=[row["response"] for row in rows], solution=[row["gold"] for row in rows])
    wrong = [(row, found) for row, found in zip(rows, rewards, strict=True) if (found == 1.0) != row["right"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right; wrong: {wrong}")
    assert len(rows) - len(wrong) >= LEAST_RIGHT
    assert sum(found == 1.0 for _, found in wrong) <= MOST_FALSE_ACCEPTS
