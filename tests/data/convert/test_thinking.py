import pytest

from prefix_rft_trl.data.convert.rows import check_thinking, with_thinking


THOUGHT = "<think>\nIs it 7? No.\n</think>\n\nIt is \\boxed{8}."


def test_thinking_is_kept_to_the_letter_by_default():
    assert with_thinking(THOUGHT, "keep") == THOUGHT


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (THOUGHT, "It is \\boxed{8}."),
        ("Well. <think>a</think> So 8. <think>b</think>", "Well.  So 8."),
        ("a template opened it</think>It is 8.", "It is 8."),
        ("It is 8. <think>cut o", "It is 8."),
        ("<think>cut o", ""),
        ("  no thinking \n", "  no thinking \n"),
    ],
)
def test_stripped_thinking_leaves_what_stands_outside(text, left):
    assert with_thinking(text, "strip") == left


def test_another_tag_takes_the_place_of_both():
    assert with_thinking(THOUGHT, "reasoning") == "<reasoning>\nIs it 7? No.\n</reasoning>\n\nIt is \\boxed{8}."


@pytest.mark.parametrize("thinking", ["", "<reasoning>", "a b"])
def test_a_tag_that_is_none_is_refused(thinking):
    with pytest.raises(ValueError, match="name of a tag"):
        check_thinking(thinking)
