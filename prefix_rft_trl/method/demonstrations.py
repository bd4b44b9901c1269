"""Demonstrations: from a dataset row to token ids, in the prompt's own chat template.

The ids are those of the demonstration's text right after the prompt that the sampler is given: no end of turn, no
beginning of sequence, nothing stripped. Text that a chat template writes between its generation prompt and the answer
(Qwen3 closes an empty thinking block, gpt-oss names a channel) belongs to the prefix. A thinking block that the
template has opened is not opened again by the demonstration. Where a template opens the block and provides for no
answer without thinking (DeepSeek-R1), the demonstration starts inside it.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]

_THINKING_OPENER = "<think>"
_THINKING_CLOSER = "</think>"
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_CONTENT_STARTS = "<the content starts here>"


def parse_demonstrations(value: Any, row: int | str = "?", column: str = "completion") -> list[Message]:
    """Reads the demonstrations of a row, each as one assistant message; empty ones are left out.

    Args:
        value: text, messages, a list of either, or `None`.
        row, column: where the value comes from, for the error message.

    Raises:
        ValueError: for any other value, naming the row and what was found.
    """
    if value is None:
        return []
    if not isinstance(value, (str, list)):
        raise _not_a_demonstration(value, row, column)
    is_one = isinstance(value, str) or (value and all(isinstance(item, dict) for item in value))
    candidates = [value] if is_one else value
    messages = [_assistant_message(item, row, column) for item in candidates if item not in (None, "", [])]
    return [message for message in messages if message["content"].strip()]


def _assistant_message(candidate: Any, row: int | str, column: str) -> Message:
    if isinstance(candidate, str):
        return {"role": "assistant", "content": candidate}
    if not (isinstance(candidate, list) and all(isinstance(item, dict) for item in candidate)):
        raise _not_a_demonstration(candidate, row, column)
    if len(candidate) != 1 or candidate[0].get("role") != "assistant" or candidate[0].get("tool_calls"):
        roles = ", ".join(str(item.get("role")) for item in candidate)
        raise ValueError(
            f"Row {row}, column '{column}': a demonstration is one assistant message without tool calls, found "
            f"{len(candidate)} message(s) with the roles: {roles}. Pass the trainer their `tools`, or keep the final "
            "answer's message only."
        )
    # `datasets` fills keys that only other rows have with None; templates read an empty `tool_calls` as a call
    message = {key: item for key, item in candidate[0].items() if item is not None and key != "tool_calls"}
    content = message.get("content", "")
    if isinstance(content, list):
        for part in content:
            if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                raise _not_a_demonstration(part, row, column)
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise _not_a_demonstration(content, row, column)
    return {**message, "content": content}


def _not_a_demonstration(found: Any, row: int | str, column: str) -> ValueError:
    return ValueError(
        f"Row {row}, column '{column}': a demonstration is text, messages, or a list of either, found "
        f"{type(found).__name__}: {str(found)[:80]!r}."
    )


def thinking_format(message: Message) -> tuple[bool, ...]:
    """What chat templates decide by: where a demonstration has its thinking."""
    content = message["content"]
    keys = (isinstance(message.get(key), str) for key in REASONING_KEYS)
    return (content.lstrip().startswith(_THINKING_OPENER), _THINKING_CLOSER in content, *keys)


def demonstration_ids(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str | list[Message],
    prompt_ids: list[int],
    message: Message,
    stop_ids: Iterable[int] = (),
    **template_kwargs: Any,
) -> list[int]:
    """Token ids of a demonstration as the continuation of a prompt.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        prompt (`str` or `list[dict]`): the prompt, text or messages.
        prompt_ids (`list[int]`): its ids as the sampler gets them, generation prompt included.
        message (`dict`): the demonstration, from [`parse_demonstrations`].
        stop_ids (`Iterable[int]`): ids that end a completion; the demonstration is truncated before the first of them.
        template_kwargs: further arguments of the chat template.

    Returns:
        `list[int]`: such that `prompt_ids` followed by them is the prompt followed by the demonstration.

    Raises:
        ValueError: if the template leaves no room for the demonstration's thinking after this prompt.
    """
    if isinstance(prompt, str):
        prompt_text, text, special = prompt, message["content"], True
    else:
        prompt_text = tokenizer.apply_chat_template(
            prompt, tokenize=False, add_generation_prompt=True, **template_kwargs
        )
        text, special = _text_after_generation_prompt(tokenizer, prompt, prompt_text, message, template_kwargs), False
    _check_reasoning(message, text)
    ids = tokenizer(prompt_text + text, add_special_tokens=special)["input_ids"]
    # A token can straddle the boundary between prompt and demonstration; the sampler's prompt ends at the boundary
    fits = ids[: len(prompt_ids)] == prompt_ids
    ids = ids[len(prompt_ids) :] if fits else encode_continuation(tokenizer, text)
    return before_stop(ids, stop_ids)


def before_stop(ids: list[int], stop_ids: Iterable[int]) -> list[int]:
    """The ids before the first of those that end a completion."""
    stops = set(stop_ids)
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]


def _text_after_generation_prompt(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    prompt_text: str,
    message: Message,
    template_kwargs: dict[str, Any],
) -> str:
    """The unchanged content, preceded by what the template writes between its generation prompt and the content."""
    content = message["content"]
    opener, has_closer = re.match(rf"\s*{_THINKING_OPENER}", content), _THINKING_CLOSER in content
    if opener or has_closer:
        if prompt_text.rstrip().endswith(_THINKING_CLOSER):
            raise ValueError(
                "The chat template closes the thinking block before the answer, but the demonstration has one: "
                f"{content[:60]!r}. Set `chat_template_kwargs` so that the template leaves thinking on, or take the "
                "thinking out of the demonstrations."
            )
        if prompt_text.rstrip().endswith(_THINKING_OPENER):
            after_opener = prompt_text.rpartition(_THINKING_OPENER)[2]
            return content[opener.end() :].removeprefix(after_opener) if opener else content
    # Templates rewrite the content (they strip it, or split off its thinking), so only its start is looked up.
    # Truncated thinking is closed for the template, which would read it as an answer otherwise.
    marked = _CONTENT_STARTS + content
    if opener:
        marked = (
            _THINKING_OPENER + _CONTENT_STARTS + content[opener.end() :] + ("" if has_closer else _THINKING_CLOSER)
        )
    rendered = tokenizer.apply_chat_template(
        [*prompt, {**message, "content": marked}], tokenize=False, **template_kwargs
    )
    # Some templates write the empty thinking block without the line break in their generation prompt
    shared = prompt_text if rendered.startswith(prompt_text) else prompt_text.rstrip()
    written, found, _ = rendered.removeprefix(shared).partition(_CONTENT_STARTS)
    if not (found and rendered.startswith(shared)):
        return content
    return (re.sub(rf"{_THINKING_OPENER}\s*$", "", written) if opener else written) + content


def _check_reasoning(message: Message, text: str) -> None:
    for key in REASONING_KEYS:
        if isinstance(reasoning := message.get(key), str) and reasoning.strip() not in text:
            raise ValueError(
                f"A demonstration has `{key}`, which would be lost: the chat template does not write it after this "
                "prompt. Rename the key to the one that the template reads, set `chat_template_kwargs` so that the "
                f"template leaves thinking on, put it into the content between {_THINKING_OPENER} and "
                f"{_THINKING_CLOSER}, or remove it. It starts with: {reasoning[:60]!r}."
            )


def encode_continuation(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Encodes a text that continues another: some tokenizers put a space before the first word of their input."""
    before = tokenizer("\n", add_special_tokens=False)["input_ids"]
    ids = tokenizer("\n" + text, add_special_tokens=False)["input_ids"]
    if ids[: len(before)] == before:
        return ids[len(before) :]
    return tokenizer(text, add_special_tokens=False)["input_ids"]
