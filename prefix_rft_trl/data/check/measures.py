"""Measure prompts and demonstrations in characters, or in tokens as the trainer encodes them."""

from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.prompts import Prompt, make_prompt
from prefix_rft_trl.data.texts import prompt_texts
from prefix_rft_trl.method.demonstrations import Message, demonstration_ids


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Measure:
    """Lengths of prompts and demonstrations in characters."""

    unit = "characters"

    def prompt(self, prompt: Prompt) -> int:
        return sum(map(len, prompt_texts(prompt)))

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        """Raises a ValueError if the demonstration has no place after this prompt."""
        return len(message["content"])


class TokenMeasure(Measure):
    """Lengths in tokens, of the prompt as the trainer makes and encodes it.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's. Messages are joined where it has no chat template.
        instruction (`str`, *optional*): text after each prompt that is plain text.
        conversational (`bool`): whether plain prompts become a user message.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.

    Attributes:
        joined_messages (`bool`): whether there were messages and no template for them.
    """

    unit = "tokens"

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        instruction: str | None = None,
        conversational: bool = False,
        template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._instruction = instruction
        self._conversational = conversational
        self._template_kwargs = template_kwargs or {}
        self._has_template = bool(tokenizer.chat_template) or "chat_template" in self._template_kwargs
        self._last: tuple[Any, Prompt, list[int]] = (None, "", [])
        self.joined_messages = False

    @property
    def special_tokens(self) -> list[str]:
        return list(self._tokenizer.all_special_tokens)

    def prompt(self, prompt: Prompt) -> int:
        return len(self._encoded(prompt)[1])

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        trained_prompt, ids = self._encoded(prompt)
        end = self._tokenizer.eos_token_id
        stop_ids = () if end is None else (end,)
        return len(demonstration_ids(self._tokenizer, trained_prompt, ids, message, stop_ids, **self._template_kwargs))

    def _encoded(self, prompt: Prompt) -> tuple[Prompt, list[int]]:
        """The prompt as it is trained on, and its ids; cached for the demonstrations of the same prompt."""
        from prefix_rft_trl.sampling.generate import encode_prompts

        if self._last[0] is not prompt:
            trained_prompt = self._as_trained(prompt)
            self._last = (
                prompt,
                trained_prompt,
                encode_prompts(self._tokenizer, [trained_prompt], self._template_kwargs)[0],
            )
        return self._last[1:]

    def _as_trained(self, prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            prompt = make_prompt(prompt, instruction=self._instruction, conversational=self._conversational)
        if isinstance(prompt, str) or self._has_template:
            return prompt
        self.joined_messages = True
        return "\n".join(prompt_texts(prompt))
