"""A problem as a source has it: the one form that all that comes after the sources knows."""

from dataclasses import dataclass


Message = dict[str, str]


@dataclass(frozen=True)
class Problem:
    """A problem with its demonstrations, before any instruction.

    Attributes:
        prompt (`str` or `list[dict]`): its text, or messages that end with a user's.
        demonstrations (`tuple[str, ...]`): worked solutions, thinking included.
        solution (`str` or `tuple[str, ...]`): the answer for the reward, or several acceptable ones.
        left_out (`tuple[str, ...]`): for each demonstration of the row that is not among them, why.
    """

    prompt: str | list[Message]
    demonstrations: tuple[str, ...]
    solution: str | tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of the prompt in one string, by which problems are told apart and drawn."""
        if isinstance(self.prompt, str):
            return self.prompt.strip()
        return "\n\n".join(message["content"].strip() for message in self.prompt)


class Unusable(ValueError):
    """A row that gives no problem. The message is the reason, worded alike for all such rows, since it is counted."""
