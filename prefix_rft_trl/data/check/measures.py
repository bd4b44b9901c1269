"""Measure prompts and demonstrations in characters, or in tokens as the trainer encodes them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.prompts import Prompt, make_prompt
from prefix_rft_trl.data.row_encoder import LongestPrefix, RowEncoder
from prefix_rft_trl.data.texts import prompt_texts
from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.trajectories import Trajectory

from .turn_faults import written_text


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# From a prompt, a trajectory and its row to the tokens of its turns and results
CountTurnTokens = Callable[[Prompt, Trajectory, dict[str, Any]], int]


@dataclass(frozen=True)
class MeasuredDemonstration:
    """Length of a demonstration, whether text behind an end of turn is lost, and whether it gives a prefix."""

    length: int
    is_cut: bool = False
    has_prefix: bool = True


class Measure:
    """Lengths of prompts and demonstrations in characters."""

    unit = "characters"

    def prompt(self, prompt: Prompt) -> int:
        """Raises a ValueError if a run cannot encode it."""
        return sum(map(len, prompt_texts(prompt)))

    def demonstration(self, prompt: Prompt, message: Message, answer: Any = None) -> MeasuredDemonstration:
        """Raises a ValueError if the demonstration has no place after this prompt."""
        return MeasuredDemonstration(len(message["content"]))

    def trajectory(self, prompt: Prompt, trajectory: Trajectory, row: dict[str, Any]) -> int:
        """Length of a demonstration with tool calls; raises a ValueError if it has no place after this prompt."""
        return len(written_text(trajectory))


class TokenMeasure(Measure):
    """Lengths in tokens, of the prompt as the trainer makes and encodes it.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        instruction (`str`, *optional*): text after each prompt that is plain text.
        conversational (`bool`): whether plain prompts become a user message.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
        stop_ids (`Iterable[int]`, *optional*): ids that end a completion; by default the tokenizer's.
        longest_prefix, hint_template (*optional*): as for [`RowEncoder`].
        turn_tokens (`Callable`, *optional*): counts the tokens of trajectories; they are not encoded without it.
    """

    unit = "tokens"

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        instruction: str | None = None,
        conversational: bool = False,
        template_kwargs: dict[str, Any] | None = None,
        stop_ids: Iterable[int] | None = None,
        longest_prefix: LongestPrefix = lambda ids, answer: ids[:-1],
        hint_template: str | None = None,
        turn_tokens: CountTurnTokens | None = None,
    ) -> None:
        if stop_ids is None:
            stop_ids = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self._encoder = RowEncoder(tokenizer, stop_ids, template_kwargs, longest_prefix, hint_template)
        self._instruction = instruction
        self._conversational = conversational
        self._turn_tokens = turn_tokens
        self._last: tuple[Any, Prompt] = (None, "")

    @property
    def special_tokens(self) -> list[str]:
        return list(self._encoder.tokenizer.all_special_tokens)

    def prompt(self, prompt: Prompt) -> int:
        return len(self._encoder.prompt_ids(self._as_trained(prompt)))

    def demonstration(self, prompt: Prompt, message: Message, answer: Any = None) -> MeasuredDemonstration:
        ids, is_cut = self._encoder.demonstration(self._as_trained(prompt), message)
        return MeasuredDemonstration(len(ids), is_cut, bool(self._encoder.longest_prefix(ids, answer)))

    def trajectory(self, prompt: Prompt, trajectory: Trajectory, row: dict[str, Any]) -> int:
        if self._turn_tokens is None:
            return len(self._encoder.tokenizer(written_text(trajectory), add_special_tokens=False)["input_ids"])
        return self._turn_tokens(self._as_trained(prompt), trajectory, row)

    def _as_trained(self, prompt: Prompt) -> Prompt:
        """The prompt as it is trained on; kept for the demonstrations of the same prompt."""
        if self._last[0] is not prompt:
            self._last = (prompt, self._make_prompt(prompt))
        return self._last[1]

    def _make_prompt(self, prompt: Prompt) -> Prompt:
        if not isinstance(prompt, str):
            return prompt
        return make_prompt(prompt, instruction=self._instruction, conversational=self._conversational)
