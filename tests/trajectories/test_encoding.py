"""Token ids of a demonstration's turns over the chat templates with tools that TRL ships."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import GRPOTrainer
from trl.chat_template_utils import add_response_schema, get_training_chat_template, is_chat_template_prefix_preserving

from prefix_rft_trl.method.trajectories import Trajectory, TurnTokens, parse_trajectory
from prefix_rft_trl.trajectories.encoding import Render, encode_turns, read_calls_with


TEMPLATES = Path(trl.__file__).parent / "chat_templates"
# The tokenizer's end of sequence, and what else a model of the template declares to end a completion
ENDS = {
    "qwen2_5": ["<|im_end|>"],
    "qwen3": ["<|im_end|>"],
    "qwen3_instruct_2507": ["<|im_end|>"],
    "qwen3_5_think": ["<|im_end|>"],
    "llama3_1": ["<|eot_id|>", "<|eom_id|>"],
    "llama3_2": ["<|eot_id|>", "<|eom_id|>"],
    "gptoss": ["<|return|>", "<|call|>"],
    "gemma4": ["<eos>", "<turn|>", "<|tool_response>"],
    "gemma4_v2": ["<eos>", "<turn|>"],
    "gemma4_v5": ["<eos>", "<turn|>", "<|tool_response>"],
    "glm4moe": ["<|endoftext|>", "<|user|>", "<|observation|>"],
    "lfm2_2_5": ["<|im_end|>"],
}
WITHOUT_TEXT_BESIDE_CALLS = {"gemma4", "gemma4_v5"}
DROPS_TEXT_BESIDE_CALLS = {"llama3_1", "llama3_2"}
SINGLE_CALLS = {"llama3_1", "llama3_2", "gptoss"}  # a message has one call at most
PROMPT = [{"role": "user", "content": "What is 1 + 2 + 3?"}]
TEXTS = st.text("ab {}\"'\\\n,.é1", max_size=12)
NUMBERS = st.integers(-99, 99)


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


class Template:
    """A chat template of TRL as its trainer uses it, with a tokenizer of bytes."""

    def __init__(self, name: str, byte_tokenizer: Callable[..., Any], frequent: tuple[str, ...] = ()) -> None:
        self.name, text = name, (TEMPLATES / f"{name}.jinja").read_text()
        marks = sorted({*re.findall(r"<\|[\w/]+\|?>|<\w+\|>", text), *ENDS[name]})
        self.tokenizer = byte_tokenizer([text, *frequent], marks, pad_token=ENDS[name][0], eos_token=ENDS[name][0])
        self.tokenizer.chat_template = text
        keeps = is_chat_template_prefix_preserving(self.tokenizer)
        self.text = None if keeps else get_training_chat_template(self.tokenizer)
        add_response_schema(self.tokenizer)
        self.render = Render(self.tokenizer, [add], {"chat_template": self.text})
        self.ends = self.tokenizer.convert_tokens_to_ids(ENDS[name])

    def encode(self, messages: list[dict[str, Any]]) -> tuple[Trajectory, list[TurnTokens]]:
        trajectory, read_calls = parse_trajectory(messages), read_calls_with(self.tokenizer, [add])
        eos = self.tokenizer.eos_token_id
        return trajectory, encode_turns(self.render, read_calls, PROMPT, trajectory, eos, self.ends)

    def result_ids(self, messages: list[dict[str, Any]]) -> list[int]:
        """What TRL's tool loop puts behind a turn for the results of its calls."""
        trainer = SimpleNamespace(
            _is_vlm=False, processing_class=self.tokenizer, chat_template=self.text, chat_template_kwargs={},
            _tokenizer=self.tokenizer,
        )  # fmt: skip
        return GRPOTrainer._get_tool_suffix_ids(trainer, messages)


@pytest.fixture(scope="module", params=list(ENDS))
def template(request: Any, byte_tokenizer: Callable[..., Any]) -> Template:
    return Template(request.param, byte_tokenizer)


def call(a: int, b: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def messages_of(texts: list[str], calls: list[list[dict[str, Any]]], results: list[str]) -> list[dict[str, Any]]:
    """Turns with calls, and an answer; the results of all calls in order."""
    left, messages = list(results), []
    for text, of_turn in zip(texts, calls, strict=False):
        messages.append({"role": "assistant", "content": text, "tool_calls": of_turn})
        messages += [{"role": "tool", "name": "add", "content": left.pop(0)} for _ in of_turn]
    return [*messages, {"role": "assistant", "content": texts[len(calls)]}]


def rows_of(template: Template, data: st.DataObject) -> tuple[list[str], list[list[dict[str, Any]]], int]:
    """Texts and calls of a demonstration that the template can write, and the number of results."""
    turns = data.draw(st.integers(1, 2))
    most = 1 if template.name in SINGLE_CALLS else 2
    calls = [[call(data.draw(NUMBERS), 2) for _ in range(data.draw(st.integers(1, most)))] for _ in range(turns)]
    texts = ["" if template.name in WITHOUT_TEXT_BESIDE_CALLS else data.draw(TEXTS) for _ in calls]
    return [*texts, "It is " + data.draw(TEXTS)], calls, sum(map(len, calls))


@settings(max_examples=8)
@given(data=st.data())
def test_turns_behind_real_results_are_what_the_template_gives(template: Template, data: st.DataObject) -> None:
    texts, calls, number = rows_of(template, data)
    results = [data.draw(TEXTS) for _ in range(number)]
    conversation = messages_of(texts, calls, results)
    given_before = copy.deepcopy(conversation)
    _, encoded = template.encode(messages_of(texts, calls, ["of the demonstration"] * number))
    ids, place = template.render(PROMPT, True), 0
    for tokens, of_turn in zip(encoded, calls, strict=False):
        ids += tokens.ids + template.result_ids(conversation[place + 1 : place + 1 + len(of_turn)])
        place += 1 + len(of_turn)
        assert ids == template.render([*PROMPT, *conversation[:place]], True)
    ids += encoded[-1].ids
    whole = template.render([*PROMPT, *conversation], False)
    if template.name == "gptoss":  # drops what the policy thought before a call as soon as there is an answer
        assert ids[-len(encoded[-1].ids) :] == whole[-len(encoded[-1].ids) :]
    elif template.name == "glm4moe":  # writes no end behind the last message
        assert ids == [*whole, template.tokenizer.eos_token_id]
    else:
        assert ids == whole[: len(ids)]
        assert template.tokenizer.decode(whole[len(ids) :]).strip() == ""
    assert encoded[-1].ids[-1] in template.ends
    assert conversation == given_before


@settings(max_examples=8)
@given(data=st.data())
def test_calls_are_read_back_or_marked(template: Template, data: st.DataObject) -> None:
    texts, calls, number = rows_of(template, data)
    trajectory, encoded = template.encode(messages_of(texts, calls, ["3"] * number))
    read_calls = read_calls_with(template.tokenizer, [add])
    before = template.render(PROMPT, True)
    for tokens, turn in zip(encoded[:-1], trajectory.turns, strict=False):
        assert tokens.is_read == (read_calls(before, tokens.ids) == turn.calls)
        before += tokens.ids + template.result_ids(list(turn.results))
    if all(re.fullmatch(r"[\w ]*", text) for text in texts):
        assert all(tokens.is_read for tokens in encoded)


@settings(max_examples=8)
@given(data=st.data())
def test_a_cut_is_never_within_a_call(template: Template, data: st.DataObject) -> None:
    texts, calls, number = rows_of(template, data)
    _, encoded = template.encode(messages_of(texts, calls, ["3"] * number))
    for tokens, text in zip(encoded[:-1], texts, strict=False):
        start, length = tokens.calls_start, len(tokens.ids)
        assert [tokens.outside_calls(cut) for cut in range(length + 1)] == [
            *range(start),
            *[start] * (length - start),
            length,
        ]
        before, after = template.tokenizer.decode(tokens.ids[:start]), template.tokenizer.decode(tokens.ids[start:])
        assert "add" not in before
        assert "add" in after
        if template.name not in DROPS_TEXT_BESIDE_CALLS | {"gemma4_v2"}:  # which writes it behind the calls
            assert text.strip() in before or text.strip() in after.partition("add")[0]
        if re.fullmatch(r"\w+", text) and template.name not in DROPS_TEXT_BESIDE_CALLS | {"gemma4_v2"}:
            assert before.endswith(text)


def test_text_that_a_template_writes_behind_results_is_refused(byte_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="does not write the results of tools behind the turn"):
        Template("gemma4", byte_tokenizer).encode(messages_of(["I add.", "It is 3."], [[call(1, 2)]], ["3"]))


def test_a_second_call_that_a_template_leaves_out_is_marked(byte_tokenizer: Callable[..., Any]) -> None:
    _, encoded = Template("gptoss", byte_tokenizer).encode(
        messages_of(["", "It is 3."], [[call(1, 2), call(3, 4)]], ["3", "7"])
    )
    assert [tokens.is_read for tokens in encoded] == [False, True]


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "glm4moe"])
@pytest.mark.parametrize("breaks", ["\n", "\n\n"])
def test_turns_that_begin_with_line_breaks(byte_tokenizer: Callable[..., Any], name: str, breaks: str) -> None:
    template = Template(name, byte_tokenizer, ("\n\n\n\n",) * 9)
    tokenizer = template.tokenizer
    assert len(tokenizer("\n\n\n")["input_ids"]) < 3, "they are one token with the end of the generation prompt"
    texts, calls = [f"{breaks}I sum.", f"{breaks}And.", f"{breaks}It is 6."], [[call(1, 2)], [call(3, 3)]]
    conversation = messages_of(texts, calls, ["3", "6"])
    _, encoded = template.encode(conversation)
    held = [token for turn in encoded for token in turn.ids + turn.behind]
    assert [held[turn.start : turn.start + len(turn.ids)] for turn in encoded] == [turn.ids for turn in encoded]
    start, whole = template.render.text(PROMPT, True), template.render.text([*PROMPT, *conversation], False)
    text = tokenizer.decode(held)
    assert whole.removeprefix(start).rstrip() in (text.rstrip(), text.removesuffix(tokenizer.eos_token))
    assert all(turn.is_read and "add" not in tokenizer.decode(turn.ids[: turn.calls_start]) for turn in encoded[:-1])
    if name == "qwen2_5":  # the others strip a text, or close an empty thinking block in front of it
        assert [tokenizer.decode(turn.ids[: turn.calls_start]) for turn in encoded[:-1]] == texts[:-1]
        assert encoded[-1].ids == tokenizer(texts[-1] + tokenizer.eos_token)["input_ids"]
