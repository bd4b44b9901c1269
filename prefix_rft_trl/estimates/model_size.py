"""The size of a model, from its config: no weights are loaded."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelSize:
    """Sizes from the model's config.json, and how many parameters it has."""

    parameters: float
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    key_value_heads: int
    head: int = 128

    @classmethod
    def from_config(cls, config: Any) -> "ModelSize | None":
        """The size of a causal language model of transformers; `None` for one of another kind.

        Args:
            config (`PreTrainedConfig`): of the model.
        """
        import torch
        from transformers import AutoModelForCausalLM

        try:
            with torch.device("meta"):  # shapes alone
                parameters = AutoModelForCausalLM.from_config(config).num_parameters()
            text = config.get_text_config()
            heads, hidden = text.num_attention_heads, text.hidden_size
            return cls(
                parameters,
                text.num_hidden_layers,
                hidden,
                getattr(text, "intermediate_size", None) or 4 * hidden,
                text.vocab_size,
                getattr(text, "num_key_value_heads", None) or heads,
                getattr(text, "head_dim", None) or hidden // heads,
            )
        except (ValueError, AttributeError, ImportError):
            return None

    @property
    def elements_of_token(self) -> int:
        """Numbers that a token has in the cache of keys and values."""
        return 2 * self.layers * self.key_value_heads * self.head

    def adapter(self, rank: int) -> int:
        """Parameters of an adapter on all linear layers but the head."""
        hidden, of_keys = self.hidden, self.key_value_heads * self.head
        of_layer = 2 * (hidden + hidden) + 2 * (hidden + of_keys) + 3 * (hidden + self.intermediate)
        return rank * self.layers * of_layer
