"""Encode the prompt and the demonstrations of a row as a run does, and say what a run cannot use of them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.method.demonstrations import Message, before_stop, demonstration_ids

from .prompts import Prompt


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LongestPrefix = Callable[[list[int], object], list[int]]


class RowEncoder:
    """Token ids of rows.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        stop_ids (`Iterable[int]`): ids that end a completion.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
        longest_prefix (`Callable`): from a demonstration's ids and the row's answer to its longest possible prefix; by
            default all but the last id.
        hint_template (`str`, *optional*): by which a prefix stands in the prompt; by default it is in the completion.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        stop_ids: Iterable[int],
        template_kwargs: dict[str, Any] | None = None,
        longest_prefix: LongestPrefix = lambda ids, answer: ids[:-1],
        hint_template: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = tuple(stop_ids)
        self.longest_prefix = longest_prefix
        self.hint_template = hint_template
        self._template_kwargs = template_kwargs or {}
        self._last: tuple[Any, list[int]] = (None, [])

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt with its generation prompt; those of the last one are kept.

        Raises:
            ValueError: if the chat template refuses its messages, or no token is left of it.
        """
        from prefix_rft_trl.sampling.generate import encode_prompts

        if self._last[0] is not prompt:
            (ids,) = encode_prompts(self.tokenizer, [prompt], self._template_kwargs) or ([],)
            if not ids:
                raise ValueError(f"the tokenizer makes no token of it: {str(prompt)[:80]!r}. Remove the row")
            self._last = (prompt, ids)
        return self._last[1]

    def demonstration(self, prompt: Prompt, message: Message) -> tuple[list[int], bool]:
        """Ids of a demonstration up to the first token that ends a completion, and whether text behind it is lost.

        Raises:
            ValueError: as `prompt_ids`, and if the template has no room for the demonstration's thinking.
        """
        complete = self._complete(prompt, message)
        ids = before_stop(complete, self.stop_ids)
        lost = [token for token in complete[len(ids) :] if token not in self.stop_ids]
        return ids, bool(lost and self.tokenizer.decode(lost, skip_special_tokens=True).strip())

    def _complete(self, prompt: Prompt, message: Message) -> list[int]:
        if self.hint_template is not None:
            from prefix_rft_trl.method.hints import hint_source_ids

            return hint_source_ids(self.tokenizer, message)
        prompt_ids = self.prompt_ids(prompt)
        with self._explain_template():
            return demonstration_ids(self.tokenizer, prompt, prompt_ids, message, **self._template_kwargs)

    def hinted(self, prompt: Prompt, prefix_ids: list[int]) -> list[int]:
        """Ids of a prompt with a prefix as its hint; those of the prompt if there is nothing in it to read."""
        from prefix_rft_trl.method.hints import as_hint
        from prefix_rft_trl.method.prefixes import Prefix

        assert self.hint_template is not None
        decode = partial(self.tokenizer.decode, skip_special_tokens=True)
        hint = as_hint(Prefix(prefix_ids), prompt, [], self.hint_template, decode).hint
        return self.prompt_ids(prompt if hint is None else hint.prompt)

    def longest_hinted(self, prompt: Prompt, message: Message, answer: object) -> list[int]:
        """Ids of a prompt with the longest hint that a demonstration gives."""
        return self.hinted(prompt, self.longest_prefix(self.demonstration(prompt, message)[0], answer))

    @property
    def stop_texts(self) -> list[str]:
        """Texts that end a completion, or that none may have."""
        ends = (self.tokenizer.decode([token]) for token in self.stop_ids)
        return [text for text in (*ends, *getattr(self.tokenizer, "placeholders", ())) if text]

    @property
    def most_characters(self) -> int | None:
        """No text of more characters is a single token; `None` if text outside the vocabulary may be one, or none."""
        most = max(map(len, self.tokenizer.get_vocab()))
        unknown = "\u4dff\U0001f9ff" * most
        return most if len(self.tokenizer(unknown, add_special_tokens=False)["input_ids"]) > 1 else None

    @contextmanager
    def _explain_template(self) -> Iterator[None]:
        import jinja2

        try:
            yield
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(
                f"the chat template refuses the demonstration: {error}. Change it, or give the model another "
                "template: `chat_template` under `model_changes`."
            ) from error
