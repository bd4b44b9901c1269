"""Token ids of a demonstration's turns over the chat templates with tools that TRL ships."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trl
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.method.trajectories import parse_trajectory
from prefix_rft_trl.trajectories.encoding import encode_turns, render_with


TEMPLATES = Path(trl.__file__).parent / "chat_templates"
ENDS = {
    "qwen2_5": ["<|im_end|>"],
    "qwen3_training": ["<|im_end|>"],
    "llama3_1": ["<|eot_id|>", "<|eom_id|>"],
}
PROMPT = [{"role": "user", "content": "What is 1 + 2 + 3?"}]
TEXTS = st.text("ab {}\"'\\\n<>é1", max_size=12)


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


@pytest.fixture(scope="module", params=list(ENDS))
def template(request: Any, byte_tokenizer: Callable[..., Any]) -> tuple[Any, list[int]]:
    ends = ENDS[request.param]
    text = (TEMPLATES / f"{request.param}.jinja").read_text()
    tokenizer = byte_tokenizer([text], [*ends, "<|im_start|>"], pad_token=ends[0], eos_token=ends[0])
    tokenizer.chat_template = text
    return tokenizer, tokenizer.convert_tokens_to_ids(ends)


@cache
def messages(content: str, first: int, result: str) -> list[dict[str, Any]]:
    calls = [{"type": "function", "function": {"name": "add", "arguments": {"a": first, "b": 2}}}]
    return [
        {"role": "assistant", "content": content, "tool_calls": calls},
        {"role": "tool", "name": "add", "content": result},
        {"role": "assistant", "content": "It is 6."},
    ]


@given(content=TEXTS, first=st.integers(-99, 99), result=TEXTS)
def test_turns_and_results_are_the_conversation(
    template: tuple[Any, list[int]], content: str, first: int, result: str
) -> None:
    tokenizer, ends = template
    render = render_with(tokenizer, [add])
    trajectory = parse_trajectory(messages(content, first, "another result"))
    one, two = encode_turns(render, PROMPT, trajectory, ends)
    conversation = [*PROMPT, *messages(content, first, result)]
    before, through = render(PROMPT, True), render(conversation[:3], True)
    assert (before + one.ids)[: len(before) + len(one.ids)] == through[: len(before) + len(one.ids)]
    whole = render(conversation, False)
    assert (through + two.ids) == whole[: len(through) + len(two.ids)]
    assert one.ids[-1] in ends
    assert two.ids[-1] in ends


def test_a_cut_is_never_within_a_call(template: tuple[Any, list[int]]) -> None:
    tokenizer, ends = template
    turn = encode_turns(render_with(tokenizer, [add]), PROMPT, parse_trajectory(messages("So", 1, "3")), ends)[0]
    (start,) = turn.call_starts
    lengths = [turn.outside_calls(length) for length in range(len(turn.ids) + 1)]
    assert lengths == [*range(start), *[start] * (len(turn.ids) - start), len(turn.ids)]
    assert "add" not in tokenizer.decode(turn.ids[:start])
