"""Encode the turns of demonstrations without a trainer, with a tokenizer that is prepared as TRL prepares it."""

from collections.abc import Callable, Iterable
from typing import Any

from trl import chat_template_utils as templates

from prefix_rft_trl.method.trajectories import Trajectory, TurnTokens, ids_with_results

from .encoding import ReadCalls, Render, encode_turns, read_calls_with


class TurnEncoder:
    """Encodes trajectories behind their prompts.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): of the policy; it gets a parser of tool calls if TRL has one for it.
        stop_ids (`Iterable[int]`): ids that end a completion.
        tools_of_row (`Callable`): from a row to its tools, functions or schemas; `None` if they are not known.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.

    Attributes:
        fault (`str`, *optional*): the reason why this chat template cannot be trained with tools.
        has_parser (`bool`): whether tool calls are read back.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop_ids: Iterable[int],
        tools_of_row: Callable[[dict[str, Any]], list[Any] | None],
        template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._tokenizer, self._stop_ids, self._tools_of_row = tokenizer, list(stop_ids), tools_of_row
        self._template_kwargs = dict(template_kwargs or {})
        self._last: tuple[Trajectory | None, list[TurnTokens]] = (None, [])
        self._is_prepared = False
        self.fault: str | None = None
        self.has_parser = False

    def encode(self, prompt: Any, trajectory: Trajectory, row: dict[str, Any]) -> list[TurnTokens]:
        """Token ids of each turn; those of the trajectory before are kept.

        Raises:
            ValueError: if the chat template does not write a turn behind its prompt.
        """
        if self._last[0] is not trajectory:
            self._last = (trajectory, self._encode(prompt, trajectory, row))
        return self._last[1]

    def count(self, prompt: Any, trajectory: Trajectory, row: dict[str, Any]) -> int:
        """Tokens of all turns and of the results between them, which share the budget of a completion."""
        last = self.encode(prompt, trajectory, row)[-1]
        return last.start + len(last.ids)

    def whole(self, prompt: Any, trajectory: Trajectory, row: dict[str, Any]) -> list[int]:
        """Token ids of all turns with the results between them, as they follow the prompt."""
        return ids_with_results(self.encode(prompt, trajectory, row))

    def _encode(self, prompt: Any, trajectory: Trajectory, row: dict[str, Any]) -> list[TurnTokens]:
        if not self._is_prepared:
            self._prepare()
        if self.fault:
            raise ValueError(self.fault)
        if not isinstance(prompt, list):
            raise ValueError(
                "it calls tools, and the prompt is text: make it a list of messages, or set `conversational: true`"
            )
        tools = self._tools_of_row(row)
        render = Render(self._tokenizer, tools, self._template_kwargs)
        read: ReadCalls | None = read_calls_with(self._tokenizer, tools) if self.has_parser else None
        eos_token_id = self._tokenizer.eos_token_id
        return encode_turns(render, read, prompt, trajectory, eos_token_id, self._stop_ids)

    def _prepare(self) -> None:
        self._is_prepared, tokenizer = True, self._tokenizer
        if not templates.supports_tool_calling(tokenizer):
            self.fault = "the chat template of the tokenizer writes no tool calls: take a model that has them"
            return
        try:
            if not templates.is_chat_template_prefix_preserving(tokenizer):
                self._template_kwargs["chat_template"] = templates.get_training_chat_template(tokenizer)
        except ValueError:
            self.fault = (
                "the chat template of the tokenizer changes a turn when a result follows, and TRL has none for "
                "training in its place: give the model another template (`model_changes`)"
            )
            return
        names = ("response_template", "response_schema")
        self.has_parser = any(getattr(tokenizer, name, None) is not None for name in names)
        if not self.has_parser:
            try:
                templates.add_response_schema(tokenizer)
            except ValueError:  # TRL does not know this template
                return
            self.has_parser = True
