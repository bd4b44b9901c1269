"""From a dataset row to the token ids of a demonstration, in the prompt's own template.

The ids are those of the demonstration's text right after the prompt that the sampler is given: no end of turn, no
beginning of sequence, nothing stripped. Where a chat template writes something of its own between its generation
prompt and the answer (Qwen3 closes an empty thinking block, gpt-oss names a channel), that belongs to the prefix too;
where it has opened a thinking block already, the demonstration does not open it again. A template that opens the block
and says nothing of answers without thinking (DeepSeek-R1) has them begin inside it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

Message = dict[str, Any]

_THINKING_OPENER = "<think>"
_THINKING_CLOSER = "</think>"
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_CONTENT_STARTS = "<the content starts here>"


def parse_demonstrations(value: Any, row: int | str = "?", column: str = "completion") -> list[Message]:
    """The demonstrations of a row, each as one assistant message; empty ones are left out.

    Args:
        value: what the row holds: text, messages, a list of either, or `None`.
        row, column: where the value comes from, for the error message.

    Raises:
        ValueError: for anything else, naming the row and what was found.
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
            f"{len(candidate)} message(s) with the roles: {roles}. Keep the final answer's message only."
        )
    # `datasets` fills the keys that other rows have with None; templates take an empty `tool_calls` for a call
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


def check_demonstrations(dataset: "Dataset | IterableDataset", column: str) -> int | None:
    """Reads every demonstration of a dataset before a model is loaded.

    Returns:
        `int` or `None`: number of rows without a demonstration; `None` for a streaming dataset, of which the first row
        is read alone.

    Raises:
        ValueError: if the dataset or all its demonstrations are empty, if the column is missing, or if a row holds
            something else than a demonstration.
    """
    from datasets import IterableDataset
    from tqdm.auto import tqdm

    if isinstance(dataset, IterableDataset):
        first = next(iter(dataset), None)
        if first is None:
            raise ValueError("The training dataset is empty.")
        _check_column(list(first), column)
        parse_demonstrations(first[column], 0, column)
        return None
    if len(dataset) == 0:
        raise ValueError("The training dataset is empty.")
    _check_column(dataset.column_names, column)
    values: Iterable[Any] = tqdm(
        dataset[column], desc="Reading demonstrations", leave=False, disable=len(dataset) < 10_000
    )
    missing = sum(not parse_demonstrations(value, row, column) for row, value in enumerate(values))
    if missing == len(dataset):
        raise ValueError(
            f"None of the {len(dataset)} rows has a demonstration: column '{column}' is empty everywhere. Fill it, "
            "set `demonstration_column`, or set `num_prefix_generations=0` for plain GRPO."
        )
    return missing


def doubtful_rows(
    dataset: "Dataset", column: str, tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[tuple[int, list[Message]]]:
    """Rows that are worth tokenizing before training: with a demonstration that may be too short to be cut, and the
    first of each way to write thinking, which the chat template may have no place for.

    Returns:
        `Iterator`: of pairs of a row and its demonstrations.
    """
    # No token is longer than the longest of the vocabulary: longer texts are more than one
    longest = max(map(len, tokenizer.get_vocab()))
    seen: set[tuple[bool, ...]] = set()
    for row, value in enumerate(dataset[column]):
        found = parse_demonstrations(value, row, column)
        kinds = {_kind_of_thinking(message) for message in found}
        if kinds - seen or any(len(message["content"]) <= longest for message in found):
            seen |= kinds
            yield row, found


def _kind_of_thinking(message: Message) -> tuple[bool, ...]:
    content = message["content"]
    keys = (isinstance(message.get(key), str) for key in REASONING_KEYS)
    return (content.lstrip().startswith(_THINKING_OPENER), _THINKING_CLOSER in content, *keys)


def _check_column(found: list[str], column: str) -> None:
    if "prompt" not in found:
        raise ValueError(f"The training dataset has no column 'prompt'; its columns are: {', '.join(found)}.")
    if column not in found:
        raise ValueError(
            f"The training dataset has no column '{column}', which is to hold the demonstrations; its columns are: "
            f"{', '.join(found)}. Set `demonstration_column` to one of them, or `num_prefix_generations=0` for plain "
            "GRPO."
        )


def demonstration_ids(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str | list[Message],
    prompt_ids: list[int],
    message: Message,
    stop_ids: Iterable[int] = (),
    **template_kwargs: Any,
) -> list[int]:
    """Token ids of a demonstration, as they follow a prompt.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        prompt (`str` or `list[dict]`): the prompt, text or messages.
        prompt_ids (`list[int]`): its ids as the sampler gets them, generation prompt included.
        message (`dict`): the demonstration, from [`parse_demonstrations`].
        stop_ids (`Iterable[int]`): ids that end a completion; the demonstration is cut before the first of them.
        template_kwargs: further arguments of the chat template.

    Returns:
        `list[int]`: such that `prompt_ids` followed by them is the prompt followed by the demonstration.

    Raises:
        ValueError: if the demonstration's thinking has no place after this prompt.
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
    # A token may straddle the boundary, but the sampler starts at the boundary
    fits = ids[: len(prompt_ids)] == prompt_ids
    ids = ids[len(prompt_ids) :] if fits else _ids_inside_a_text(tokenizer, text)
    stops = set(stop_ids)
    return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]


def _text_after_generation_prompt(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    prompt_text: str,
    message: Message,
    template_kwargs: dict[str, Any],
) -> str:
    """The content as it is, after what the template writes between its generation prompt and the content."""
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
    # Templates rewrite the content (they strip it, or take its thinking apart), so it is only looked up where it
    # starts. Thinking that was cut off is closed for the template, which would take it for an answer otherwise.
    marked = _CONTENT_STARTS + content
    if opener:
        marked = (
            _THINKING_OPENER + _CONTENT_STARTS + content[opener.end() :] + ("" if has_closer else _THINKING_CLOSER)
        )
    rendered = tokenizer.apply_chat_template(
        [*prompt, {**message, "content": marked}], tokenize=False, **template_kwargs
    )
    # Some write the empty thinking block without the line break that their generation prompt has in it
    shared = prompt_text if rendered.startswith(prompt_text) else prompt_text.rstrip()
    written, found, _ = rendered.removeprefix(shared).partition(_CONTENT_STARTS)
    if not (found and rendered.startswith(shared)):
        return content
    return (re.sub(rf"{_THINKING_OPENER}\s*$", "", written) if opener else written) + content


def _check_reasoning(message: Message, text: str) -> None:
    for key in REASONING_KEYS:
        if isinstance(reasoning := message.get(key), str) and reasoning.strip() not in text:
            raise ValueError(
                f"A demonstration has `{key}`, which would be lost: nothing writes it after this prompt. Rename the "
                "key to the one that the chat template reads, set `chat_template_kwargs` so that the template leaves "
                f"thinking on, put it into the content between {_THINKING_OPENER} and {_THINKING_CLOSER}, or take it "
                f"out. It begins: {reasoning[:60]!r}."
            )


def _ids_inside_a_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of a text that others precede: some tokenizers put a space before the first word of all they are given."""
    before = tokenizer("\n", add_special_tokens=False)["input_ids"]
    ids = tokenizer("\n" + text, add_special_tokens=False)["input_ids"]
    if ids[: len(before)] == before:
        return ids[len(before) :]
    return tokenizer(text, add_special_tokens=False)["input_ids"]
