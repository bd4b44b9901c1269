"""Sample with transformers' own `generate`, from token ids to token ids."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from prefix_rft_trl.models.templates import render_messages


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: list[Any], template_kwargs: dict[str, Any] | None = None
) -> list[list[int]]:
    """Token ids of prompts, all text or all messages, with the generation prompt.

    Args:
        template_kwargs (`dict`, *optional*): further arguments of the chat template.

    Raises:
        ValueError: if the model has no template, or if the template does not take a prompt.
    """
    is_text = not prompts or isinstance(prompts[0], str)
    texts = prompts if is_text else render_messages(tokenizer, prompts, template_kwargs or {})
    return tokenizer(texts, add_special_tokens=is_text)["input_ids"] if texts else []


def stop_token_ids(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end an answer: those of a model's generation config, and the tokenizer's."""
    own = config.eos_token_id
    ids = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    return sorted(token for token in ids if token is not None)


def declared_stop_ids(model: str | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **source: Any) -> list[int]:
    """Stop ids of a model, loaded or by its folder or name; the tokenizer's alone if the model declares none.

    Args:
        source: where to find it, such as `revision`.
    """
    return stop_token_ids(declared_generation_config(model, **source), tokenizer)


def declared_generation_config(model: str | PreTrainedModel, **source: Any) -> GenerationConfig:
    """The generation config that a model has once it is loaded; an empty one if nothing of it can be read."""
    if not isinstance(model, str):
        return model.generation_config
    try:
        return GenerationConfig.from_pretrained(model, **source)
    except (OSError, ValueError):  # then transformers makes one of the model's config
        try:
            return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model, **source))
        except (OSError, ValueError):
            return GenerationConfig()


def sampling_config(
    max_new_tokens: int, stop_ids: list[int], pad: int | None, temperature: float = 1.0, top_p: float = 1.0
) -> GenerationConfig:
    """Samples from all tokens; takes the most likely one at temperature 0."""
    sampled = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids,
        pad_token_id=pad,
        **(sampled if temperature else {"do_sample": False}),
    )


@contextmanager
def sampling_with(config: GenerationConfig, model: PreTrainedModel) -> Iterator[None]:
    """Within the block the model samples with this config alone: `generate` takes unset values from the model's own.

    The model's mode and the global random state are restored.
    """
    own, training = model.generation_config, model.training
    model.generation_config = config
    model.eval()
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        model.generation_config = own
        model.train(training)


def generate_ids(model: PreTrainedModel, prompts: list[list[int]], processors: Any = None) -> list[list[int]]:
    """Token ids of one answer to each prompt, in a single batch, with the token that ended it.

    Args:
        processors ([`~transformers.LogitsProcessorList`], *optional*): what changes the scores of the next token.
    """
    config = model.generation_config
    longest = max(map(len, prompts))
    pad = config.eos_token_id[0] if config.pad_token_id is None else config.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    sampled = model.generate(input_ids=ids, attention_mask=mask, logits_processor=processors)[:, longest:].cpu()
    return [_until_stop(answer, config.eos_token_id) for answer in sampled]


def _until_stop(ids: torch.Tensor, stop_ids: list[int]) -> list[int]:
    stops = torch.isin(ids, torch.tensor(stop_ids)).nonzero()
    return ids[: stops[0].item() + 1].tolist() if len(stops) else ids.tolist()
