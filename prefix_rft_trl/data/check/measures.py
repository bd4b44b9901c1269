"""How long prompts and demonstrations are: in characters, or in the tokens that the trainer makes of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from prefix_rft_trl.method.demonstrations import Message, demonstration_ids

from .texts import prompt_texts


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = str | list[Message]


class Measure(Protocol):
    """Lengths of the two parts of a row, in a unit."""

    unit: str

    def prompt(self, prompt: Prompt) -> int: ...

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        """Raises a ValueError if the demonstration has no place after this prompt."""
        ...


class Characters:
    """Lengths in characters, where there is no tokenizer."""

    unit = "characters"

    def prompt(self, prompt: Prompt) -> int:
        return sum(map(len, prompt_texts(prompt)))

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        return len(message["content"])


class Tokens:
    """Lengths in tokens, the prompt in the chat template as the trainer writes it.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's. Messages are joined where it has no chat template.
        instruction (`str`, *optional*): text that follows each prompt that is plain text.
        conversational (`bool`): whether plain prompts are made the message of a user.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
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
        self.joined_messages = False  # whether there were messages and no template for them

    @property
    def special_tokens(self) -> list[str]:
        return list(self._tokenizer.all_special_tokens)

    def prompt(self, prompt: Prompt) -> int:
        return len(self._given(prompt)[1])

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        given, ids = self._given(prompt)
        return len(demonstration_ids(self._tokenizer, given, ids, message, self._stop_ids(), **self._template_kwargs))

    def _stop_ids(self) -> Iterable[int]:
        end = self._tokenizer.eos_token_id
        return () if end is None else (end,)

    def _given(self, prompt: Prompt) -> tuple[Prompt, list[int]]:
        """The prompt as it is trained on, and its ids; those of the last prompt are kept for its demonstrations."""
        if self._last[0] is not prompt:
            given = self._as_trained(prompt)
            self._last = (prompt, given, self._ids(given))
        return self._last[1:]

    def _as_trained(self, prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            text = f"{prompt}\n{self._instruction}" if self._instruction else prompt
            prompt = [{"role": "user", "content": text}] if self._conversational else text
        if isinstance(prompt, str) or self._has_template:
            return prompt
        self.joined_messages = True
        return "\n".join(prompt_texts(prompt))

    def _ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self._tokenizer(prompt)["input_ids"]
        return self._tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **self._template_kwargs
        )["input_ids"]
