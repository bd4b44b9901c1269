from contextlib import redirect_stdout
from io import StringIO

import pytest

from prefix_rft_trl.run.completions import PREFIX_END, prefix_characters, print_rollouts, rollout_line


LOGS = {
    "prompt": ["3+4=", [{"role": "system", "content": "Add."}, {"role": "user", "content": "7*2="}], "1+1="],
    "completion": ["3+4=7;#7", [{"role": "assistant", "content": "7*2=4;#4"}], "#2"],
    "rewards": {"exact": [1.0, 0.0, None]},
    "advantages": [0.875, -0.125, 0.0],
    "extra": {
        "hybrid": [True, True, False],
        "prefix_length": [6, 2, 0],
        "prefix_characters": [6, 2, 0],
        "n": [1, 2, 3],
    },
}


def assistant(content: str | None) -> list[dict]:
    return [{"role": "assistant", "content": content}]


def printed(logs, number=None):
    with redirect_stdout(StringIO()) as output:
        print_rollouts(logs, 3, number)
    return output.getvalue()


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
    prefix_text = text.encode()[: len(b"caf") + 1].decode(errors="replace")
    assert prefix_text != text[: len(prefix_text)]
    assert prefix_characters(text, prefix_text) == len("caf")


def test_each_rollout_has_its_figures_its_last_turn_and_its_mark():
    lines = printed(LOGS).splitlines()
    assert "step 3" in lines[0]
    assert lines[1:4] == [
        "hybrid, prefix of 6 tokens · exact 1.00 · advantage +0.88 · n 1",
        "3+4=",
        f"3+4=7;{PREFIX_END}#7",
    ]
    assert lines[6:8] == ["7*2=", f"7*{PREFIX_END}2=4;#4"]
    assert rollout_line(LOGS, 2) == "on-policy · advantage +0.00 · n 3"
    assert lines[-2] == "#2"


def test_as_many_rollouts_are_printed_as_asked_for():
    assert [printed(LOGS, number).count("advantage") for number in (None, 5, 2, 0)] == [3, 3, 2, 0]


def test_square_brackets_in_a_text_are_printed_as_they_are():
    assert "[red]1[/red]" in printed({**LOGS, "completion": ["123456[red]1[/red]", "", ""]})
