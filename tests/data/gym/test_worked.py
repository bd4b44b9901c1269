"""Worked solutions from the intermediate results of reasoning-gym, in its own answer format."""

import pytest

from prefix_rft_trl.data.gym.worked import worked_solution


def make_item(task, answer, **metadata):
    return {"question": "?", "answer": answer, "metadata": {"source_dataset": task, "source_index": 0, **metadata}}


COT = "If there were 186 ladybugs, there are 93 caterpillars.\nIn all it is 279 insects.\n#### 279"
FRACTION = {"numerator": 5, "denominator": 15, "reduction_factor": 5, "simplified_numerator": 1,
            "simplified_denominator": 3}  # fmt: skip
ROUNDS = [{"cards": "IKW", "result": "Peng"}, {"cards": "KWA", "result": "Pass"}]


@pytest.mark.parametrize(
    ("item", "steps"),
    [(make_item("gsm_symbolic", "279", answer_cot=COT), COT.removesuffix("\n#### 279")),
     (make_item("gsm_symbolic", "16", answer_cot="He eats 8 * 2 = 16 oz.\n#### 16.0"), "He eats 8 * 2 = 16 oz."),
     (make_item("string_manipulation", "cbc", states=["cbaa", "cbc"]), "cbaa\ncbc"),
     (make_item("string_splitting", "0 2 1", states=[[1, 0, 0], [0, 2, 1]]), "1 0 0\n0 2 1"),
     (make_item("mahjong_puzzle", "Pass", rounds=ROUNDS), "Round 1: IKW, Peng\nRound 2: KWA, Pass"),
     (make_item("number_sequence", "-20", rule="add 4 then double"), "The rule: add 4 then double."),
     (make_item("count_primes", "2", primes=[2, 3]), "The primes: 2, 3."),
     (make_item("base_conversion", "3a0", decimal_value=637), "In base 10 it is 637."),
     (make_item("count_bits", "2", binary="101"), "In binary it is 101."),
     (make_item("fraction_simplification", "1/3", **FRACTION), "5 / 5 = 1\n15 / 5 = 3"),
     (make_item("simple_geometry", "148", total_interior_sum=540, sum_of_known_angles=392.0),
      "All interior angles sum to 540, the known ones to 392.")],
    ids=lambda value: value["metadata"]["source_dataset"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_the_steps_of_a_task_lead_to_its_answer(item, steps):
    assert worked_solution(item) == f"{steps}\n<answer>{item['answer']}</answer>"


@pytest.mark.parametrize(
    "item",
    [
        make_item("gsm_symbolic", "280", answer_cot=COT),
        make_item("string_manipulation", "cbaa", states=["cbaa", "cbc"]),
        make_item("string_synthesis", "0 2", states=[[0, 2], [1, 1]]),
        make_item("chain_sum", "5", expression="2 + 3"),
        make_item("graph_color", None, possible_answer={0: 1}),
    ],
    ids=lambda item: item["metadata"]["source_dataset"],
)
def test_steps_that_lead_elsewhere_are_no_demonstration(item):
    assert worked_solution(item) is None
