"""Thinking blocks kept, stripped and renamed."""

import pytest

from prefix_rft_trl.data.convert.thinking import check_thinking, convert_thinking


THOUGHT = "<think>\nIs it 7? No.\n</think>\n\nIt is \\boxed{8}."


@pytest.mark.parametrize(
    ("text", "thinking", "converted"),
    [
        (THOUGHT, "keep", THOUGHT),
        (THOUGHT, "reasoning", "<reasoning>\nIs it 7? No.\n</reasoning>\n\nIt is \\boxed{8}."),
        (THOUGHT, "strip", "It is \\boxed{8}."),
        ("Well. <think>a</think> So 8. <think>b</think>", "strip", "Well.  So 8."),
        ("a template opened it</think>It is 8.", "strip", "It is 8."),
        ("It is 8. <think>cut o", "strip", "It is 8."),
        ("<think>cut o", "strip", ""),
        ("  no thinking \n", "strip", "  no thinking \n"),
    ],
)
def test_thinking_is_converted_and_the_rest_stays(text, thinking, converted):
    assert convert_thinking(text, thinking) == converted


@pytest.mark.parametrize("thinking", ["", "<reasoning>", "a b"])
def test_an_invalid_tag_is_refused(thinking):
    with pytest.raises(ValueError, match="tag name"):
        check_thinking(thinking)
