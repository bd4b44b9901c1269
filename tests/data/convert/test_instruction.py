"""The instruction after each problem: decided over the rows, unless the user gives one."""

import pytest

from prefix_rft_trl.data.convert.instruction import choose_instruction
from prefix_rft_trl.data.convert.rows import SourceProblem
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION, MARK_INSTRUCTION


BOXED, MARKED, WORDED = r"So \boxed{4}.", "So 4.\n#### 4", "The answer is 4."


def problems(*demonstrations: str, prompt: str = "2+2?") -> list[SourceProblem]:
    return [SourceProblem(prompt, (text,), "4") for text in demonstrations]


@pytest.mark.parametrize(
    ("rows", "appended"),
    [
        (problems(*[BOXED] * 10), True),
        (problems(*[BOXED] * 9, MARKED), True),
        (problems(*[BOXED] * 8, MARKED, "4."), False),
        (problems(MARKED, MARKED), False),
        (problems(WORDED), False),
        (problems("<think>\\boxed{4}</think>It is 4."), False),
        ([SourceProblem("2+2?", (), "4")], True),
        ([], True),
        (problems(BOXED, prompt=r"2+2? Use \boxed{}."), False),
        (problems(BOXED, prompt="2+2? Put the final answer after ####."), False),
    ],
)
def test_the_default_is_appended_where_nothing_contradicts_it(rows, appended):
    chosen = choose_instruction(rows, None, BOX_INSTRUCTION)
    assert chosen.text == (BOX_INSTRUCTION if appended else "")
    assert bool(chosen.reason) is not appended
    assert not chosen.warning


def test_the_reason_counts_shows_an_end_and_names_an_instruction_that_fits():
    reason = choose_instruction(problems(MARKED, MARKED), None, BOX_INSTRUCTION).reason
    assert reason.startswith(r"2 of 2 demonstrations have no \boxed{}; one ends: So 4. #### 4")
    assert f'--instruction "{MARK_INSTRUCTION}"' in reason
    assert "asks" not in choose_instruction(problems(MARKED), None, MARK_INSTRUCTION).reason


@pytest.mark.parametrize(
    ("given", "warned"), [(BOX_INSTRUCTION, True), (MARK_INSTRUCTION, False), ("Think.", False), ("", False)]
)
def test_an_instruction_of_the_user_wins_and_is_warned_of_if_the_demonstrations_contradict_it(given, warned):
    chosen = choose_instruction(problems(MARKED, MARKED), given, BOX_INSTRUCTION)
    assert (chosen.text, bool(chosen.warning)) == (given, warned)
