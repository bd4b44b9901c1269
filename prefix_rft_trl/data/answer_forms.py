r"""Forms of a final answer: those that a prompt asks for, and those that a demonstration states its answer in.

A prompt that asks for `\boxed{}` and a demonstration that ends in `#### 42` contradict each other: the policy is told
one thing and shown another.
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.rewards.answers import message_text


_THINKING_CLOSER = "</think>"
_QUOTED = "[\"'`*\u201c\u2018]"


@dataclass(frozen=True)
class AnswerForm:
    """A form of a final answer.

    Attributes:
        name (`str`): as messages write it.
        request (`re.Pattern`): found in a prompt that asks for the form.
        is_in (`Callable`): whether a demonstration has it.
    """

    name: str
    request: re.Pattern[str]
    is_in: Callable[[str], object]


def _ends_in_mark(text: str) -> bool:
    """Elsewhere than in the last two lines `####` is a heading."""
    return any("####" in line for line in text.rstrip().rsplit("\n", 2)[-2:])


def _has_tags(text: str) -> bool:
    return 0 <= text.find("<answer>") < text.rfind("</answer>")


BOX = r"\boxed{}"
FORMS = (
    AnswerForm(
        BOX,
        re.compile(
            r"\\f?box(?:ed)?\b|\banswer\b[^.\n]{0,60}\b(?:in|inside|within|into) (?:an? |the )?box(?:ed)?\b"
            r"|\bbox (?:it\b|(?:your|the) (?:final )?answer)|\bboxed (?:final )?answer",
            re.IGNORECASE,
        ),
        re.compile(r"\\(?:boxed|fbox)\s*(?:\{\s*[^\s}]|\w)").search,
    ),
    AnswerForm(
        "####",
        re.compile(
            r"\b(?:answer|result|solution|after|behind|with|by|as|end)\b[^\n]{0,80}\n?[^\n\w]{0,3}####"
            r"(?!\s*+(?:answer|solution|response|result)[^\S\n]*+(?::[^\S\n]*+)?(?:\n|\Z))",
            re.IGNORECASE,
        ),
        _ends_in_mark,
    ),
    AnswerForm("<answer>", re.compile("<answer>"), _has_tags),
    AnswerForm(
        '"answer is"',
        re.compile(
            rf"{_QUOTED}[\w ,]{{0,30}}\banswer(?: is\b|:)"
            r"|\b(?:end|finish|conclude)\b[^\n]{0,40}\banswer(?: is\b|:)",
            re.IGNORECASE,
        ),
        re.compile(r"\banswer(?: is\b|\**:)", re.IGNORECASE).search,
    ),
)


def asked_forms(prompt: str | Sequence[dict[str, Any]]) -> frozenset[str]:
    """Names of the forms that a prompt asks for, in its text or in what the system and the user say."""
    if not isinstance(prompt, str):
        prompt = "\n".join(message_text(message) for message in prompt if message.get("role") != "assistant")
    return frozenset(form.name for form in FORMS if form.request.search(prompt))


def stated_forms(demonstration: str) -> frozenset[str]:
    """Names of the forms that a demonstration has, outside of its thinking."""
    text = demonstration.rpartition(_THINKING_CLOSER)[2]
    return frozenset(form.name for form in FORMS if form.is_in(text))


def ends_otherwise(asked: Set[str], demonstration: str) -> bool:
    """Whether a form is asked for, and the demonstration has none of those that are."""
    return bool(asked) and asked.isdisjoint(stated_forms(demonstration))


def name_forms(forms: Set[str]) -> str:
    r"""`\boxed{}`, or `\boxed{} or ####`."""
    return " or ".join(form.name for form in FORMS if form.name in forms)
