"""Prompts with an instruction and a system prompt, and the parts that all prompts share."""

import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION, make_prompt, shared_parts


USER = {"role": "user", "content": "1+1?"}
MESSAGES = [{"role": "system", "content": "Be brief."}, USER]
TURNS = [USER, {"role": "assistant", "content": "2"}, {"role": "user", "content": "And 2+2?"}]


def test_the_instruction_is_the_papers_on_a_line_of_its_own():
    content = "1+1?\nPlease reason step by step, and put your final answer within \\boxed{}"
    expected = [{"role": "user", "content": content}]
    assert make_prompt("1+1?", instruction=BOX_INSTRUCTION, conversational=True) == expected
    assert make_prompt("1+1?", instruction=BOX_INSTRUCTION, conversational=False) == content


@pytest.mark.parametrize(
    ("problem", "instruction", "expected"),
    [
        (f"1+1? {BOX_INSTRUCTION}.", BOX_INSTRUCTION, f"1+1? {BOX_INSTRUCTION}."),
        ("1+1?\nThink.", "Think.\nBox it.", "1+1?\nThink.\nBox it."),
        ("1+1?", "", "1+1?"),
        ("1+1?", None, "1+1?"),
    ],
)
def test_an_instruction_is_not_repeated(problem, instruction, expected):
    assert make_prompt(problem, instruction=instruction, conversational=False) == expected


def test_a_system_prompt_comes_first_and_replaces_another():
    system = {"role": "system", "content": "Think."}
    assert make_prompt("1+1?", system_prompt="Think.", conversational=True)[0] == system
    assert make_prompt(MESSAGES, system_prompt="Think.", conversational=True) == [system, USER]
    assert make_prompt(MESSAGES, conversational=False) == "Be brief.\n\n1+1?"
    text = make_prompt("1+1?", system_prompt="Think.", conversational=False)
    assert make_prompt(text, system_prompt="Think.", conversational=False) == text == "Think.\n\n1+1?"


def test_the_instruction_follows_the_last_of_several_turns():
    made = make_prompt(TURNS, instruction="Box it.", conversational=True)
    assert made == [*TURNS[:2], {"role": "user", "content": "And 2+2?\nBox it."}]
    assert TURNS[2]["content"] == "And 2+2?", "the source is left as it was"
    with pytest.raises(Unusable, match="several turns"):
        make_prompt(TURNS, conversational=False)


@pytest.mark.parametrize("conversational", [True, False])
@pytest.mark.parametrize(("system_prompt", "instruction"), [("Think.\n\nTwice.", "Box it.\nBe sure."), ("", "")])
def test_shared_parts_are_those_that_prompts_were_made_with(conversational, system_prompt, instruction):
    parts = {"system_prompt": system_prompt, "instruction": instruction, "conversational": conversational}
    prompts = [make_prompt(problem, **parts) for problem in ("1+1?", "Let x = 2.\n2x?", "2+2?")]
    assert shared_parts(prompts) == (system_prompt, instruction)


def test_equal_prompts_do_not_tell_an_instruction_from_a_problem():
    assert shared_parts(["Let x = 2.\n2x?"] * 2) is None
    assert shared_parts([[{"role": "user", "content": [{"type": "image"}]}], TURNS]) is None
