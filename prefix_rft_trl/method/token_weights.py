"""The weights beta on prefix tokens: which of them are trained, and how strongly.

Every update is a weighted sum of score functions. On the tokens that the policy sampled the weight is that of the loss
type. On prefix tokens it is

    beta_t = keep_t * weight(advantage, ratio_t, probability_t)

where `keep` is the entropy clipping (`SELECTIONS`) and `weight` a law of `PREFIX_WEIGHTS`. A cross-entropy with a
constant coefficient (UFT, and reinforcement learning with an SFT loss) is a term of its own beside the loss.
"""

from collections.abc import Callable

import torch


HighEntropyMask = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def prefix_token_mask(prefix_lengths: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """True on the tokens of a completion that came from a demonstration.

    Args:
        prefix_lengths (`torch.Tensor`): shape (batch,), in tokens; 0 for on-policy rollouts.
        completion_mask (`torch.Tensor`): shape (batch, tokens), 0 on padding and on completions left out of the loss.

    Returns:
        `torch.Tensor`: boolean, shape (batch, tokens).
    """
    positions = torch.arange(completion_mask.size(1), device=completion_mask.device)
    return (positions < prefix_lengths.unsqueeze(1)) & completion_mask.bool()


def top_entropy(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """The paper's entropy clipping: one threshold for the prefix tokens of all rows and ranks of a forward batch."""
    return high_entropy_mask(entropies.float(), prefix_mask, 1 - quantile)  # its threshold has that precision


def top_entropy_per_rollout(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """A threshold for each hybrid rollout: what is kept does not depend on how a batch is cut."""
    of_prefix = entropies.float().masked_fill(~prefix_mask, torch.nan)
    thresholds = torch.nanquantile(of_prefix, 1 - quantile, dim=1, keepdim=True)
    return (of_prefix >= thresholds) & prefix_mask


def bottom_entropy(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """The tokens of which the policy is most certain (the paper's ablation)."""
    return high_entropy_mask(-entropies.float(), prefix_mask, 1 - quantile)


def no_token(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """The prefix is context and nothing else (the paper's ablation)."""
    return torch.zeros_like(prefix_mask)


Selection = Callable[[torch.Tensor, torch.Tensor, float, HighEntropyMask], torch.Tensor]
SELECTIONS: dict[str, Selection] = {
    "top_entropy": top_entropy,
    "top_entropy_per_rollout": top_entropy_per_rollout,
    "bottom_entropy": bottom_entropy,
    "random": top_entropy,  # of noise, which stands in the place of the entropies
    "none": no_token,
}


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
# A law that is None leaves prefix tokens to the loss type, which weighs them like sampled ones: the paper's Eq. 3.
PREFIX_WEIGHTS: dict[str, Weight | None] = {"ppo": None, "ppo_unclipped": unclipped_ppo, "shaped": shaped}
CROSS_ENTROPY = "cross_entropy"
PREFIX_LOSSES = (*PREFIX_WEIGHTS, CROSS_ENTROPY)


def cross_entropy(logps: torch.Tensor, kept: torch.Tensor, normalizer: torch.Tensor | float) -> torch.Tensor:
    """- sum over kept prefix tokens of log pi, divided by the normalizer.

    Args:
        logps (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
        kept (`torch.Tensor`): boolean, same shape.
        normalizer (`torch.Tensor` or `float`): number of prefix tokens that the mean is taken over.

    Returns:
        `torch.Tensor`: a scalar, in nats a token.
    """
    return -(logps * kept).sum() / normalizer


def weigh_prefix_tokens(
    prefix_loss_type: str,
    logps: torch.Tensor,
    old_logps: torch.Tensor | None,
    advantages: torch.Tensor,
    prefix_advantages: torch.Tensor,
    prefix_mask: torch.Tensor,
    kept: torch.Tensor,
    gamma: float,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Makes a policy-gradient loss give each prefix token the weight beta, and no other token anything else.

    A loss whose gradient is `A * r * grad log pi` inside its clip range gives a token the weight beta when its
    advantage is beta and its ratio 1, hence the old log-probabilities that come back. Dropped tokens carry no
    gradient in any term of the loss; they stay in the context and in the normaliser.

    Args:
        prefix_loss_type (`str`): name in `PREFIX_LOSSES`. `"cross_entropy"` is no part of this loss: keep nothing.
        logps (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
        old_logps (`torch.Tensor` or `None`): same shape, of the policy at sampling time; `None` if it is the same one.
        advantages (`torch.Tensor`): shape (batch,), of sampled tokens.
        prefix_advantages (`torch.Tensor`): shape (batch,), of prefix tokens.
        prefix_mask (`torch.Tensor`): boolean, shape (batch, tokens).
        kept (`torch.Tensor`): boolean, same shape, the prefix tokens that are trained.
        gamma (`float`): where the shaped weight is largest.

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
    token_advantages = torch.where(prefix_mask, beta * kept, advantages.unsqueeze(1))
    return torch.where(prefix_mask & ~kept, detached, logps), old_logps, token_advantages
