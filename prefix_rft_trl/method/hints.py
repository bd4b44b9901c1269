"""Hints: the start of a demonstration in the prompt, behind which the policy writes the whole solution itself.

A hint is cut like a prefix in the completion, and its text goes into the prompt by a template. None of its tokens is a
target: a rollout behind a hint is on-policy for the prompt that it was sampled from.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .demonstrations import REASONING_KEYS, Message, before_stop
from .prefixes import NO_PREFIX, Decode, Hint, Prefix


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPT_PLACE, HINT_PLACE = "{prompt}", "{hint}"


def hint_source_ids(tokenizer: "PreTrainedTokenizerBase", message: Message, stop_ids: Iterable[int] = ()) -> list[int]:
    """Token ids of the text that hints are cut from: a demonstration as the dataset has it, its reasoning in front.

    A chat template writes nothing into it, since it does not stand at the place of an answer.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        message (`dict`): the demonstration, from [`parse_demonstrations`].
        stop_ids (`Iterable[int]`): ids that end a completion; the text ends before the first of them.
    """
    texts = (message.get(key) for key in (*REASONING_KEYS, "content"))
    text = "\n\n".join(text for text in texts if isinstance(text, str) and text)
    return before_stop(tokenizer(text, add_special_tokens=False)["input_ids"], stop_ids)


def as_hint(
    prefix: Prefix, prompt: str | list[Message], prompt_ids: list[int], template: str, decode: Decode
) -> Prefix:
    """Moves a prefix from the completion into the prompt; one without text is none.

    Args:
        prefix (`Prefix`): cut from [`hint_source_ids`].
        prompt (`str` or `list[dict]`): the prompt without a hint.
        prompt_ids (`list[int]`): its token ids.
        template (`str`): as for [`with_hint`].
        decode (`Callable`): from ids to text, without special tokens, which would be read as marks of the prompt.
    """
    text = decode(prefix.ids).rstrip("\N{REPLACEMENT CHARACTER}")  # of a character whose bytes were cut
    if not text.strip():
        return NO_PREFIX
    return replace(prefix, ids=[], hint=Hint(prefix.ids, with_hint(prompt, text, template), prompt_ids))


def with_hint(prompt: str | list[Message], hint: str, template: str) -> str | list[Message]:
    """A prompt with a hint; the prompt that is passed stays as it is.

    Args:
        prompt (`str` or `list[dict]`): text, or messages, of which the user's last one gets the hint.
        hint (`str`): text of the hint.
        template (`str`): with `{prompt}` and `{hint}` once each. Other braces, also in prompt and hint, are text.
    """
    before, after = (part.replace(HINT_PLACE, hint) for part in template.split(PROMPT_PLACE))
    if isinstance(prompt, str):
        return before + prompt + after
    place = _place_of_question(prompt)
    message = {**prompt[place], "content": _between(before, prompt[place].get("content"), after)}
    return [*prompt[:place], message, *prompt[place + 1 :]]


def _place_of_question(messages: list[Message]) -> int:
    """Index of the user's last message; where the user says nothing, of the last one."""
    places = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    return places[-1] if places else len(messages) - 1


def _between(before: str, content: Any, after: str) -> Any:
    """A content with text in front and behind, within its first and last text if it has parts."""
    if not isinstance(content, list):
        return before + (content or "") + after
    parts = [dict(part) if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if not texts:
        return [{"type": "text", "text": before}, *parts, {"type": "text", "text": after}]
    texts[0]["text"] = before + texts[0]["text"]
    texts[-1]["text"] += after
    return parts
