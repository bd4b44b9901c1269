"""Which columns of padding a model's results do not depend on.

TRL gives a model no positions, so it counts columns. Left of a prompt they shift the positions of its tokens, which
changes nothing where positions count relative to each other (rotary embeddings), and everything where each has an
embedding of its own. Some rotary embeddings are scaled by the width of the batch.
"""

from collections.abc import Iterator
from typing import Any

from transformers import PretrainedConfig


COUNT_COLUMNS = ("recurrent_gemma",)  # in its recurrent layers
SCALED_BY_WIDTH = ("dynamic", "longrope")


def ignores_left_padding(config: PretrainedConfig) -> bool:
    """Whether a model's positions are relative: whether it has rotary embeddings, and nothing else that counts."""
    settings = list(rotary_settings(config))
    text_config = config.get_text_config()
    counts = text_config.model_type in COUNT_COLUMNS or getattr(text_config, "attn_temperature_tuning", False)
    return bool(settings) and not (counts or any("llama_4_scaling_beta" in part for part in settings))


def ignores_width(config: PretrainedConfig) -> bool:
    """Whether a model computes the same for a row in a wide batch and in a narrow one."""
    return not any(
        settings.get("rope_type", settings.get("type")) in SCALED_BY_WIDTH for settings in rotary_settings(config)
    )


def rotary_settings(config: PretrainedConfig) -> Iterator[dict[str, Any]]:
    """Settings of rotary embeddings: one dictionary, or one for each kind of layer."""
    settings = getattr(config.get_text_config(), "rope_parameters", None) or {}
    nested = [value for value in settings.values() if isinstance(value, dict)]
    yield from nested or ([settings] if settings else [])
