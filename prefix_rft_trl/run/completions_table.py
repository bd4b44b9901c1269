"""The printed table of completions, with a mark where the prefix ends and the policy goes on."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any


PREFIX_END = " ▌ "  # between spaces, so that the table can break the line there

Completion = str | list[dict[str, Any]]


def prefix_characters(completion: Completion, prefix_text: str) -> int:
    """Number of characters of a completion's text that came from the demonstration.

    A prefix may end inside a character of several tokens, hence the longest common start.
    """
    agree = (ours == theirs for ours, theirs in zip(_text(completion), prefix_text, strict=False))
    return sum(takewhile(bool, agree))


def mark_prefix_end(completion: Completion, characters: int) -> Completion:
    """The completion with `PREFIX_END` after so many characters; unchanged for 0."""
    if not characters:
        return completion
    text = _text(completion)
    marked = text[:characters] + PREFIX_END + text[characters:]
    return marked if isinstance(completion, str) else [{**completion[0], "content": marked}, *completion[1:]]


def mark_prefix_ends(completions: Sequence[Completion], characters: Sequence[int]) -> list[Completion]:
    return [mark_prefix_end(completion, count) for completion, count in zip(completions, characters, strict=True)]


def print_table(logs: dict[str, Any], step: int, number: int | None) -> None:
    """TRL's table of completions, of the rollouts that a trainer holds in its `_logs`, with the marks.

    Args:
        logs (`dict`): columns `prompt`, `completion`, `rewards`, `advantages` and `extra`.
        step (`int`): optimizer steps done so far.
        number (`int` or `None`): rows that are printed; `None` for all.
    """
    from trl.trainer.utils import print_prompt_completions_sample

    extra = dict(logs["extra"])
    completions = mark_prefix_ends(logs["completion"], extra.pop("prefix_characters", []))
    print_prompt_completions_sample(
        logs["prompt"], completions, logs["rewards"], logs["advantages"], step, number, extra=extra
    )


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[0].get("content") or "")
