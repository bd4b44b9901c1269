import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION, prompt_of


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1+1?"},
]
TURNS = [
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2+2?"},
]


def test_the_instruction_is_the_papers_on_a_line_of_its_own():
    content = "1+1?\nPlease reason step by step, and put your final answer within \\boxed{}"
    assert prompt_of("1+1?", None, BOX_INSTRUCTION, False) == [{"role": "user", "content": content}]
    assert prompt_of("1+1?", None, BOX_INSTRUCTION, True) == content


def test_an_instruction_that_is_there_already_is_not_repeated():
    asked = f"1+1? {BOX_INSTRUCTION}."
    assert prompt_of(asked, None, BOX_INSTRUCTION, True) == asked


def test_no_instruction_leaves_the_problem_alone():
    assert prompt_of("1+1?", None, "", True) == "1+1?"


def test_a_system_prompt_comes_first_and_takes_the_place_of_another():
    assert prompt_of("1+1?", "Think.", "", False)[0] == {"role": "system", "content": "Think."}
    assert prompt_of(MESSAGES, "Think.", "", False) == [{"role": "system", "content": "Think."}, MESSAGES[1]]
    assert prompt_of(MESSAGES, None, "", True) == "Be brief.\n\n1+1?"


def test_the_instruction_follows_the_last_of_several_turns():
    made = prompt_of(TURNS, None, "Box it.", False)
    assert made == [*TURNS[:2], {"role": "user", "content": "And 2+2?\nBox it."}]
    assert TURNS[2]["content"] == "And 2+2?", "the source is left as it was"


def test_several_turns_are_no_plain_text():
    with pytest.raises(Unusable, match="several turns"):
        prompt_of(TURNS, None, "", True)
