"""Refuse to pack rollouts for a model that would mix them: by its config, and by a trial on the model itself.

Attention kernels find the rows by their boundaries, other implementations by a mask from the position ids. Some
architectures make their mask without those, and layers with a state carry it from one row into the next.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from .packing import PackedModel


ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
TRIAL_TOKENS = 16  # of each of two rows
MIXED_SHARE = 0.1  # of the change that the row before makes when it is really read
ROUNDING = 0.02  # in nats: what bfloat16 may change
REMEDY = "Set `padding_free=False`."


def refuse_images(processor: Any, columns: list[str]) -> None:
    """Raises a ValueError if inputs could be more than text; the processing class may be missing."""
    if images := sorted({"image", "images"} & {*columns}):
        raise ValueError(
            f"`padding_free=True` packs text only, and the training dataset has a column '{images[0]}'. {REMEDY}"
        )
    if not (processor is None or isinstance(processor, PreTrainedTokenizerBase)):
        raise ValueError(
            f"`padding_free=True` packs text only, and the processing class is a {type(processor).__name__}. Pass "
            "the tokenizer alone as `processing_class`, or set `padding_free=False`."
        )


def refuse_model(model: str | PreTrainedModel, revision: str | None = None, trust_remote_code: bool = False) -> None:
    """Refuses a model whose layers carry a state across tokens, by its config, before it is loaded.

    Raises:
        ValueError: naming the architecture. A config that cannot be read is left to whatever loads the model.
    """
    if not isinstance(model, str):
        return _refuse_architecture(model.config, model)
    config = None
    with suppress(OSError, ValueError):
        config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    if config is not None:
        architecture = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        _refuse_architecture(config, architecture)


def _refuse_architecture(config: PreTrainedConfig, architecture: Any) -> None:
    layers = {*(getattr(config.get_text_config(), "layer_types", None) or ())} - ATTENTION_LAYERS
    if layers or getattr(architecture, "_is_stateful", False):
        kinds = f" ({', '.join(sorted(layers))})" if layers else ""
        raise ValueError(
            f"`padding_free=True` needs a model whose layers are attention: those of {config.model_type}{kinds} carry "
            f"a state from one rollout of a packed row into the next. {REMEDY}"
        )


def refuse_adapter(peft_config: Any) -> None:
    """Raises a ValueError for an adapter that puts virtual tokens in front of each row; it may be missing."""
    if getattr(peft_config, "is_prompt_learning", False):
        raise ValueError(
            f"`padding_free=True` cannot pack rows behind the virtual tokens of {type(peft_config).__name__}, which "
            f"come once for each row. {REMEDY}"
        )


def masks_all_tokens(implementation: str | None) -> bool:
    """Whether an attention implementation of transformers needs a mask of all packed tokens against each other."""
    return implementation in (None, "eager", "sdpa")


def warning_of_masks(on_cpu: bool) -> str:
    """What such a mask costs, and what to set instead; flash attention is not for CPUs."""
    flash = "`attn_implementation: flash_attention_2` in a recipe, or in `model_init_kwargs` in Python, or "
    return (
        "`padding_free=True` without flash attention: attention computes, and its mask takes, the square of all "
        f"tokens of a micro-batch, which can cost more than the padding did. Set {'' if on_cpu else flash}"
        "`padding_free=False`."
    )


def refuse_mixing(model: nn.Module, input_ids: torch.Tensor) -> None:
    """Tries a model with a fused LM head on two packed rows of tokens from `input_ids`, without gradient.

    Raises:
        ValueError: if the second row is predicted from the first. Processes of sharded models call this together.
    """
    tokens = input_ids.unique()
    rows = tokens.repeat(2 * TRIAL_TOKENS // len(tokens) + 1)[: 2 * TRIAL_TOKENS].view(2, TRIAL_TOKENS)
    with torch.no_grad(), _evaluated(model):
        packed = _log_probs(PackedModel(model), rows, attention_mask=torch.ones_like(rows))[1:]
        alone = _log_probs(model, rows[1:])
        joined = _log_probs(model, rows.view(1, -1))[:, TRIAL_TOKENS:]
    mixed, read = ((changed - alone).abs().mean().item() for changed in (packed, joined))
    if mixed > max(MIXED_SHARE * read, ROUNDING):
        raise ValueError(
            "`padding_free=True` would mix the rollouts of a batch: with this model and attention implementation, a "
            f"packed rollout sees the tokens of the one before it. {REMEDY} A flash attention "
            "(`attn_implementation: flash_attention_2`) keeps rollouts apart in more models."
        )


def _log_probs(model: Any, input_ids: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
    return model(input_ids=input_ids, labels=input_ids, fused_lm_head=True, **named).log_probs


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Turns dropout off, which would look like a difference and would draw from the random state of the run."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True
