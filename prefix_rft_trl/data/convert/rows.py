"""A problem as a source row states it: the one form that everything after the sources knows."""

import re
from dataclasses import dataclass

from prefix_rft_trl.method.demonstrations import Message


_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


class Unusable(ValueError):
    """A row without a usable problem. The message is the reason, which is counted: it is worded alike for all rows."""


@dataclass(frozen=True)
class SourceProblem:
    """A problem with its demonstrations, before any instruction.

    Attributes:
        prompt (`str` or `list[dict]`): its text, or messages that end with a user message.
        demonstrations (`tuple[str, ...]`): worked solutions, thinking included.
        solution (`str` or `tuple[str, ...]`): the answer for the reward, or several acceptable ones.
        left_out (`tuple[str, ...]`): the reason for each demonstration of the row that is missing here.
    """

    prompt: str | list[Message]
    demonstrations: tuple[str, ...]
    solution: str | tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The complete prompt in one string, which identifies the problem."""
        if isinstance(self.prompt, str):
            return self.prompt.strip()
        return "\n\n".join(message["content"].strip() for message in self.prompt)


def without_separators(answer: str) -> str:
    """`1,234` as `1234`; anything but a plain number with thousands separators unchanged."""
    return answer.replace(",", "") if _GROUPED.fullmatch(answer) else answer
