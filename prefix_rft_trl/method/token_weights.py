"""Weights beta on prefix tokens: which of them are trained, and with what weight.

Every update is a weighted sum of score functions. On sampled tokens the weight is that of the loss type. On prefix
tokens it is

    beta_t = selected_t * weight(advantage, ratio_t, probability_t)

where `selected` is the entropy clipping (`SELECTIONS`) and `weight` a function in `PREFIX_WEIGHTS`. A cross-entropy
with a constant coefficient (UFT, and reinforcement learning with an SFT loss) is a separate term of the loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from .selections import SELECTIONS, AllProcesses


def prefix_token_mask(prefix_lengths: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """Mask of the completion tokens that came from a demonstration.

    Args:
        prefix_lengths (`torch.Tensor`): shape (batch,), in tokens; 0 for on-policy rollouts.
        completion_mask (`torch.Tensor`): shape (batch, tokens), 0 on padding and on completions left out of the loss.

    Returns:
        `torch.Tensor`: boolean, shape (batch, tokens).
    """
    positions = torch.arange(completion_mask.size(1), device=completion_mask.device)
    return (positions < prefix_lengths.unsqueeze(1)) & completion_mask.bool()


def unclipped_ppo(
    advantages: torch.Tensor, ratios: torch.Tensor, probabilities: torch.Tensor, gamma: float
) -> torch.Tensor:
    """A * r: the policy gradient of the surrogate without its clip."""
    return advantages * ratios


def shaped(advantages: torch.Tensor, ratios: torch.Tensor, probabilities: torch.Tensor, gamma: float) -> torch.Tensor:
    """A * pi * gamma / (pi + gamma)^2: the gradient of A * pi / (pi + gamma), the shaped ratio of LUFFY.

    The policy that wrote the demonstration is taken to be certain of each of its tokens, so the ratio is pi itself.
    The weight is largest where pi = gamma.
    """
    return advantages * probabilities * gamma / (probabilities + gamma) ** 2


Weight = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
# None leaves prefix tokens to the loss type, which treats them like sampled ones (paper, Eq. 3).
PREFIX_WEIGHTS: dict[str, Weight | None] = {"ppo": None, "ppo_unclipped": unclipped_ppo, "shaped": shaped}
CROSS_ENTROPY = "cross_entropy"
PREFIX_LOSSES = (*PREFIX_WEIGHTS, CROSS_ENTROPY)


def cross_entropy(logps: torch.Tensor, selected: torch.Tensor, normalizer: torch.Tensor | float) -> torch.Tensor:
    """- sum of log pi over the selected prefix tokens, divided by the normalizer.

    Args:
        logps (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
        selected (`torch.Tensor`): boolean, same shape.
        normalizer (`torch.Tensor` or `float`): number of prefix tokens that the mean is over.

    Returns:
        `torch.Tensor`: a scalar, in nats a token.
    """
    return -(logps * selected).sum() / normalizer


def apply_prefix_weights(
    prefix_loss_type: str,
    logps: torch.Tensor,
    old_logps: torch.Tensor | None,
    advantages: torch.Tensor,
    prefix_advantages: torch.Tensor,
    prefix_mask: torch.Tensor,
    selected: torch.Tensor,
    gamma: float,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Makes a policy-gradient loss give each prefix token the weight beta, and leaves all other tokens alone.

    A loss whose gradient is `A * r * grad log pi` inside its clip range gives a token the weight beta when its
    advantage is beta and its ratio 1, hence the old log-probabilities that are returned. Tokens that are not selected
    carry no gradient in any term of the loss; they stay in the context and in the normalizer.

    Args:
        prefix_loss_type (`str`): name in `PREFIX_LOSSES`. `"cross_entropy"` is not part of this loss: select nothing.
        logps (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
        old_logps (`torch.Tensor` or `None`): same shape, of the policy at sampling time; `None` if unchanged.
        advantages (`torch.Tensor`): shape (batch,), of sampled tokens.
        prefix_advantages (`torch.Tensor`): shape (batch,), of prefix tokens.
        prefix_mask (`torch.Tensor`): boolean, shape (batch, tokens).
        selected (`torch.Tensor`): boolean, same shape, the prefix tokens that are trained.
        gamma (`float`): probability at which the shaped weight is largest.

    Returns:
        `tuple`: log-probabilities, old log-probabilities (or `None`) and advantages, each (batch, tokens).
    """
    detached = logps.detach()
    beta = prefix_advantages.unsqueeze(1).expand_as(detached)
    weight = PREFIX_WEIGHTS.get(prefix_loss_type)
    if weight is not None:
        ratios = torch.ones_like(detached) if old_logps is None else torch.exp(detached - old_logps)
        beta = weight(beta, ratios, detached.exp(), gamma)
        if old_logps is not None:
            old_logps = torch.where(prefix_mask, detached, old_logps)
    token_advantages = torch.where(prefix_mask, beta * selected, advantages.unsqueeze(1))
    return torch.where(prefix_mask & ~selected, detached, logps), old_logps, token_advantages


@dataclass(frozen=True)
class PrefixTokenRule:
    """Entropy clipping and weight of prefix tokens, applied to one forward batch.

    Attributes:
        selection (`str`): name in `SELECTIONS`.
        quantile (`float`): fraction of prefix tokens that is selected.
        loss_type (`str`): name in `PREFIX_LOSSES`.
        coef (`float`): coefficient of `"cross_entropy"`.
        gamma (`float`): probability at which the weight of `"shaped"` is largest.
    """

    selection: str
    quantile: float
    loss_type: str
    coef: float
    gamma: float

    def select(self, scores: torch.Tensor, prefix_mask: torch.Tensor, everyone: AllProcesses) -> torch.Tensor:
        """Selects the prefix tokens to train, by their entropies, or by noise with `"random"`.

        Args:
            scores (`torch.Tensor`): shape (batch, tokens).
            prefix_mask (`torch.Tensor`): boolean, same shape.
            everyone (`AllProcesses`): whose tokens they are ranked with.

        Returns:
            `torch.Tensor`: boolean, same shape.
        """
        return SELECTIONS[self.selection](scores, prefix_mask, self.quantile, everyone)

    def trained_tokens(self, batch: Mapping[str, torch.Tensor], trained: torch.Tensor) -> torch.Tensor:
        """Tokens whose weight is not zero, whichever prefix tokens are selected.

        Args:
            batch (`Mapping`): with `prefix_mask` and `prefix_advantages`.
            trained (`torch.Tensor`): boolean, shape (batch, tokens), those that the policy loss alone trains.
        """
        is_trained = batch["prefix_advantages"] != 0
        if self.loss_type == CROSS_ENTROPY:
            is_trained = torch.full_like(is_trained, self.coef != 0)
        return torch.where(batch["prefix_mask"], is_trained[:, None] & (self.selection != "none"), trained)

    def apply(
        self,
        batch: Mapping[str, torch.Tensor],
        logps: torch.Tensor,
        entropies: torch.Tensor,
        selected: torch.Tensor,
        fraction: float,
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor | None]]:
        """Prepares a batch for TRL's loss, so that its gradient has the weight beta on prefix tokens.

        Args:
            batch (`Mapping`): with `prefix_mask`, `prefix_advantages`, `advantages`, `num_prefix_tokens` and, if the
                policy has changed since sampling, `old_per_token_logps`.
            logps, entropies (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
            selected (`torch.Tensor`): boolean, same shape, from [`select`].
            fraction (`float`): part of the generation batch that one loss averages over.

        Returns:
            `tuple`: log-probabilities and entropies for the loss, and entries to update the batch with, `prefix_loss`,
            a separate loss term, among them.
        """
        prefix_loss = torch.zeros((), device=logps.device)
        if self.loss_type == CROSS_ENTROPY:
            normalizer = batch["num_prefix_tokens"].clamp(min=1) * fraction
            prefix_loss = self.coef * cross_entropy(logps, selected, normalizer)
            selected = torch.zeros_like(selected)  # in the policy-gradient loss the prefix is context
        prefix_mask = batch["prefix_mask"]
        logps, old_logps, advantages = apply_prefix_weights(
            self.loss_type,
            logps,
            batch.get("old_per_token_logps"),
            batch["advantages"],
            batch["prefix_advantages"],
            prefix_mask,
            selected,
            self.gamma,
        )
        # TRL's entropy bonus then trains the same tokens as the rest of the loss
        entropies = torch.where(prefix_mask & ~selected, entropies.detach(), entropies)
        return (
            logps,
            entropies,
            {"old_per_token_logps": old_logps, "advantages": advantages, "prefix_loss": prefix_loss},
        )
