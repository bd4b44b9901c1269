"""Prompts in the chat template of a model, with a remedy where it has none or does not take them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def render_messages(
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Any],
    template_kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Prompts that are messages as text, with the generation prompt.

    Args:
        template_kwargs (`Mapping`): further arguments of the chat template.

    Raises:
        ValueError: if the model has no template, or if the template does not take a prompt.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template and "chat_template" not in template_kwargs:
        raise ValueError(
            f"The prompts are messages, and the model {tokenizer.name_or_path!r} has no chat template. Set "
            "`conversational: false` and give prompts that are text, or give it a template: `chat_template` under "
            "`model_changes`."
        )
    texts = []
    for prompt in prompts:
        try:
            template = {"add_generation_prompt": True, **template_kwargs}
            texts.append(tokenizer.apply_chat_template(prompt, tokenize=False, **template))
        except (TemplateError, TypeError) as error:  # a template that adds text to nothing raises the latter
            raise ValueError(
                f"The chat template of {tokenizer.name_or_path!r} does not take a prompt ({error}): {prompt!r:.150}. "
                "Leave out what it does not take, such as a system prompt, or give the model another template: "
                "`chat_template` under `model_changes`."
            ) from error
    return texts
