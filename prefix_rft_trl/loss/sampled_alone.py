"""What TRL decides by the tokens of a row, of a row that starts with a prefix: by the tokens that the policy sampled.

`top_entropy_quantile` trains the tokens with the highest entropies, `off_policy_mask_threshold` drops rows whose
tokens have moved away from the policy that sampled them, and VESPO weighs a row by how far they have. A demonstration
is not of that policy, and which of its tokens are trained is what `prefix_selection` says: they count in none of the
three, and none of them changes what they weigh. The ratio of a sequence (`importance_sampling_level`) is that of its
sampled tokens too; there prefix tokens leave TRL's loss, and are trained in a term of their own, if at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from prefix_rft_trl.method.selections import AllProcesses
from prefix_rft_trl.utils.patching import replaced


def all_processes(trainer: Any, order: torch.Tensor) -> AllProcesses:
    """With whose tokens those of a forward batch are ranked; `order` is that of its rows among all rollouts."""
    # Of its class: during a loss the trainer's own leaves prefixes out
    ranking = partial(type(trainer).get_high_entropy_mask, trainer)
    return AllProcesses(ranking, trainer.accelerator.gather, trainer.accelerator.process_index, order)


@contextmanager
def masks_of_sampled_tokens(trainer: Any, prefix_mask: torch.Tensor) -> Iterator[None]:
    """Within the block the masks that TRL's loss multiplies by are those of sampled tokens, and 1 on prefix tokens.

    Args:
        trainer ([`~trl.GRPOTrainer`]): whose loss is computed.
        prefix_mask (`torch.Tensor`): boolean, shape (batch, tokens).
    """
    of_entropies, of_rows = trainer.get_high_entropy_mask, trainer.get_off_policy_mask
    of_sequences = trainer.get_gamma_weights

    def high_entropy_mask(entropies: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
        return of_entropies(entropies, mask.bool() & ~prefix_mask, threshold) | prefix_mask

    def off_policy_mask(*, mask: torch.Tensor, **named: Any) -> torch.Tensor:
        return torch.where(prefix_mask, 1, of_rows(mask=mask * ~prefix_mask, **named))

    def gamma_weights(*, mask: torch.Tensor, **named: Any) -> torch.Tensor:
        return torch.where(prefix_mask, 1.0, of_sequences(mask=mask * ~prefix_mask, **named))

    with (
        replaced(trainer, "get_high_entropy_mask", high_entropy_mask),
        replaced(trainer, "get_off_policy_mask", off_policy_mask),
        replaced(trainer, "get_gamma_weights", gamma_weights),
    ):
        yield


def without_prefixes(trainer: Any, outputs: dict[str, Any], prefix_mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Entries of a generation batch in whose policy loss prefixes are context.

    Args:
        trainer ([`~trl.GRPOTrainer`]): of the batch.
        outputs (`dict`): the batch.
        prefix_mask (`torch.Tensor`): boolean, shape (rollouts, tokens).
    """
    tool_mask = outputs.get("tool_mask", torch.ones_like(outputs["completion_mask"])) * ~prefix_mask
    tokens = (outputs["completion_mask"] * tool_mask).sum()
    return {"tool_mask": tool_mask, "num_items_in_batch": trainer.accelerator.gather(tokens).sum()}
