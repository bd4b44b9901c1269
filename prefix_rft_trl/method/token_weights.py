"""Weights beta on the tokens of demonstrations, so that a policy-gradient loss of TRL trains them.

Every update is a weighted sum of score functions. On sampled tokens the weight is that of the loss type. On prefix
tokens it is a product of small tables, over a denominator D:

    beta_t = c(step) * gate(group) * selected_t * w(A, r_t, pi_t) / D

with c from `coefficients`, the gate from `gates` (a closed one has taken the token out of the prefix mask), `selected`
from `selections`, w from `token_laws`, A from `advantages`, and D from `normalizations`. The methods that join
demonstrations and reward differ in the entries that they take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .coefficients import Coefficient
from .selections import SELECTIONS, AllProcesses
from .token_laws import TokenFacts, TokenLaw


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


def prefix_span_mask(spans: Sequence[Sequence[tuple[int, int]]], completion_mask: torch.Tensor) -> torch.Tensor:
    """Mask of the completion tokens that came from a demonstration of several turns.

    Args:
        spans (`Sequence[Sequence[tuple[int, int]]]`): of each rollout where they stand, from and up to; they do not
            overlap.
        completion_mask (`torch.Tensor`): shape (batch, tokens), as for [`prefix_token_mask`].

    Returns:
        `torch.Tensor`: boolean, shape (batch, tokens).
    """
    rows, width = completion_mask.shape
    bounds = torch.tensor([(row, *span) for row, of_row in enumerate(spans) for span in of_row], dtype=torch.long)
    row, start, stop = bounds.reshape(-1, 3).unbind(dim=1)
    edges = torch.zeros(rows, width + 1, dtype=torch.long)
    ones = torch.ones_like(row)
    edges.index_put_((row, start.clamp(max=width)), ones, accumulate=True)
    edges.index_put_((row, stop.clamp(max=width)), -ones, accumulate=True)
    inside = edges.cumsum(dim=1)[:, :width] > 0
    return inside.to(completion_mask.device) & completion_mask.bool()


@dataclass(frozen=True)
class PrefixTokenRule:
    """Selection and weight of prefix tokens, applied to one forward batch.

    Attributes:
        law (`TokenLaw`): w.
        selection (`str`): name in `SELECTIONS`.
        quantile (`float`): fraction of prefix tokens that is selected.
        gamma (`float`): constant of `"shaped"` and `"trust_region"`.
        normalization (`str`): name in `NORMALIZATIONS`. With `"loss"` prefix tokens are part of the policy-gradient
            loss, otherwise of a term of their own.
        coefficient (`Coefficient`): c.
        is_convex (`bool`): whether sampled tokens have the coefficient 1 - c.
    """

    law: TokenLaw
    selection: str
    quantile: float
    gamma: float
    normalization: str
    coefficient: Coefficient
    is_convex: bool = False

    @property
    def is_in_policy_loss(self) -> bool:
        return self.normalization == "loss"

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
        has_weight = batch["prefix_advantages"] != 0
        if not self.law.takes_advantage:
            has_weight = torch.ones_like(has_weight)
        return torch.where(batch["prefix_mask"], has_weight[:, None] & (self.selection != "none"), trained)

    def apply(
        self,
        batch: Mapping[str, torch.Tensor],
        logps: torch.Tensor,
        entropies: torch.Tensor,
        selected: torch.Tensor,
        coefficient: float,
        fraction: float,
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor | None]]:
        """Prepares a batch for TRL's loss, so that its gradient has the weight beta on prefix tokens.

        A loss whose gradient is `A * r * grad log pi` inside its clip range gives a token the weight beta when its
        advantage is beta and its ratio 1, hence the old log-probabilities that are returned. Tokens that are not
        selected carry no gradient in any term of the loss; they stay in the context and in the normalizer.

        Args:
            batch (`Mapping`): with `prefix_mask`, `prefix_advantages`, `prefix_shares`, `advantages` and, if the
                policy has changed since sampling, `old_per_token_logps`; with `demonstration_logps`, shape (batch,
                tokens), if the author of a demonstration was not certain of each token.
            logps, entropies (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
            selected (`torch.Tensor`): boolean, same shape, from [`select`].
            coefficient (`float`): c of this step.
            fraction (`float`): part of the generation batch, to which `prefix_shares` add up, that one loss covers.

        Returns:
            `tuple`: log-probabilities and entropies for the loss, and entries to update the batch with, `prefix_loss`,
            a separate loss term, among them.
        """
        prefix_mask, old_logps = batch["prefix_mask"], batch.get("old_per_token_logps")
        detached, beta = logps.detach(), coefficient * self.weights(batch, logps)
        prefix_loss = torch.zeros((), device=logps.device)
        if not self.is_in_policy_loss:
            shares = batch["prefix_shares"].unsqueeze(1)
            prefix_loss = -(logps * torch.where(selected & prefix_mask, beta * shares, 0.0)).sum() / fraction
            selected = torch.zeros_like(selected)  # in the policy-gradient loss the prefix is context
        if old_logps is not None and not self.law.keeps_ratio:
            old_logps = torch.where(prefix_mask, detached, old_logps)
        of_sampled = batch["advantages"].unsqueeze(1)
        if self.is_convex:
            of_sampled = of_sampled * (1 - coefficient)
        # TRL's entropy bonus then trains the same tokens as the rest of the loss
        is_context = prefix_mask & ~selected
        return (
            torch.where(is_context, detached, logps),
            torch.where(is_context, entropies.detach(), entropies),
            {
                "old_per_token_logps": old_logps,
                "advantages": torch.where(prefix_mask, torch.where(selected, beta, 0.0), of_sampled),
                "prefix_loss": prefix_loss,
            },
        )

    def weights(self, batch: Mapping[str, torch.Tensor], logps: torch.Tensor) -> torch.Tensor:
        """The weight w of each token as if it were a demonstration's, shape (batch, tokens), without a gradient."""
        logps, old_logps = logps.detach(), batch.get("old_per_token_logps")
        authors = batch.get("demonstration_logps")
        return self.law.weight(
            TokenFacts(
                advantages=batch["prefix_advantages"].unsqueeze(1).expand_as(logps),
                ratios=torch.ones_like(logps) if old_logps is None else torch.exp(logps - old_logps),
                probabilities=logps.exp(),
                author_ratios=logps.exp() if authors is None else torch.exp(logps - authors),
                gamma=self.gamma,
            )
        )
