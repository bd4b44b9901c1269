import pytest

from prefix_rft_trl.run.completions_table import PREFIX_END, mark_prefix_end, mark_prefix_ends, prefix_characters


def assistant(content: str | None) -> list[dict]:
    return [{"role": "assistant", "content": content}]


def test_mark_stands_where_the_prefix_ends():
    assert mark_prefix_end("3+4=7;7*2=4;#4", 6) == f"3+4=7;{PREFIX_END}7*2=4;#4"
    assert mark_prefix_end(assistant("3+4=7;#7"), 6) == assistant(f"3+4=7;{PREFIX_END}#7")


def test_on_policy_completion_has_no_mark():
    assert mark_prefix_end("#4", 0) == "#4"
    assert mark_prefix_end(assistant("#4"), 0) == assistant("#4")


def test_marking_leaves_the_logged_completion_and_its_other_messages_as_they_are():
    completion = [*assistant("3+4=7;#7"), {"role": "tool", "content": "ok"}]
    marked = mark_prefix_end(completion, 6)
    assert completion[0]["content"] == "3+4=7;#7"
    assert marked[1:] == completion[1:]


@pytest.mark.parametrize("wrap", [str, assistant])
def test_prefix_is_found_at_the_start_of_a_completion(wrap):
    assert prefix_characters(wrap("3+4=7;#7"), "3+4=7;") == 6
    assert prefix_characters(wrap("3+4=7;#7"), "") == 0
    assert prefix_characters(wrap("3+"), "3+4=7;") == 2
    assert prefix_characters(wrap("3+4=8;#8"), "3+4=7;#8") == 4


def test_message_without_content_has_no_prefix():
    assert prefix_characters(assistant(None), "None of these") == 0


@pytest.mark.parametrize("character", ["é", "中", "🙂"])
def test_prefix_that_ends_inside_a_character_is_marked_before_it(character):
    text = f"caf{character}, and on"
    whole = text.encode()
    inside = len(b"caf") + 1
    prefix_text = whole[:inside].decode(errors="replace")
    assert prefix_text != text[: len(prefix_text)]
    assert mark_prefix_end(text, prefix_characters(text, prefix_text)) == f"caf{PREFIX_END}{character}, and on"


def test_each_completion_of_the_table_gets_its_own_mark():
    assert mark_prefix_ends(["abc", assistant("abc"), "abc"], [1, 2, 0]) == [
        f"a{PREFIX_END}bc",
        assistant(f"ab{PREFIX_END}c"),
        "abc",
    ]
