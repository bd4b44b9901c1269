"""Token laws: the weight w of a demonstration's token in beta = c * selected * w, before the denominator.

With A the advantage of its rollout, pi the policy's probability of the token now, r its ratio to that at sampling
time, x its ratio to that of the token's author, and g a constant:

| law             | w                  | source                                                    |
| --------------- | ------------------ | --------------------------------------------------------- |
| `ppo`           | A r, clipped       | Prefix-RFT, Eq. 3: that of the loss type                  |
| `ppo_unclipped` | A r                | Prefix-RFT, authors' code                                 |
| `shaped`        | A x g / (x + g)^2  | LUFFY, with x = pi: its author is certain; ExGRPO          |
| `cross_entropy` | 1                  | SFT, UFT, HPT, SuperRL, CHORD-mu                          |
| `dft`           | pi                 | DFT (arXiv 2508.05629)                                    |
| `chord_phi`     | pi (1 - pi)        | CHORD (arXiv 2508.11408, Eq. 8)                           |
| `trust_region`  | min(1, pi / g)     | TRAPO's TrSFT (arXiv 2512.17636)                          |
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TokenFacts:
    """What a law may depend on, each of shape (batch, tokens) and without a gradient.

    Attributes:
        advantages (`torch.Tensor`): A, of the rollout.
        ratios (`torch.Tensor`): r, to the policy at sampling time.
        probabilities (`torch.Tensor`): pi.
        author_ratios (`torch.Tensor`): x, to the policy that wrote the demonstration.
        gamma (`float`): g.
    """

    advantages: torch.Tensor
    ratios: torch.Tensor
    probabilities: torch.Tensor
    author_ratios: torch.Tensor
    gamma: float


def advantage(facts: TokenFacts) -> torch.Tensor:
    """A: the loss type multiplies it by the ratio, and clips."""
    return facts.advantages


def ppo_unclipped(facts: TokenFacts) -> torch.Tensor:
    """A * r: the policy gradient of the surrogate without its clip."""
    return facts.advantages * facts.ratios


def shaped(facts: TokenFacts) -> torch.Tensor:
    """A * x * g / (x + g)^2: the gradient of A * x / (x + g), the shaped ratio of LUFFY. It is largest where x = g."""
    x, gamma = facts.author_ratios, facts.gamma
    return facts.advantages * x * gamma / (x + gamma) ** 2


def one(facts: TokenFacts) -> torch.Tensor:
    return torch.ones_like(facts.probabilities)


def probability(facts: TokenFacts) -> torch.Tensor:
    return facts.probabilities


def uncertainty(facts: TokenFacts) -> torch.Tensor:
    """pi * (1 - pi): largest where the policy is undecided about the token."""
    return facts.probabilities * (1 - facts.probabilities)


def within_trust_region(facts: TokenFacts) -> torch.Tensor:
    """min(1, pi / g): that of cross-entropy, divided by max(pi, g) in place of pi."""
    return (facts.probabilities / facts.gamma).clamp(max=1.0)


@dataclass(frozen=True)
class TokenLaw:
    """A law, and what its settings are where they are left out; `None` where they must be given.

    Attributes:
        weight (`Callable`): from [`TokenFacts`] to w, shape (batch, tokens).
        takes_advantage (`bool`): whether w is proportional to the advantage.
        keeps_ratio (`bool`): whether the loss type adds its ratio and clip.
        normalization (`str`): name in `NORMALIZATIONS`.
        coef (`float` or `None`): the coefficient c.
        quantile (`float` or `None`): fraction of the prefix tokens that is selected.
    """

    weight: Callable[[TokenFacts], torch.Tensor]
    takes_advantage: bool
    keeps_ratio: bool = False
    normalization: str = "loss"
    coef: float | None = 1.0
    quantile: float | None = 0.2


TOKEN_LAWS = {
    "ppo": TokenLaw(advantage, takes_advantage=True, keeps_ratio=True),
    "ppo_unclipped": TokenLaw(ppo_unclipped, takes_advantage=True),
    "shaped": TokenLaw(shaped, takes_advantage=True),
    "cross_entropy": TokenLaw(one, takes_advantage=False, normalization="tokens", coef=0.001),
    "dft": TokenLaw(probability, takes_advantage=False, normalization="tokens", coef=None, quantile=None),
    "chord_phi": TokenLaw(uncertainty, takes_advantage=False, normalization="tokens", coef=None, quantile=None),
    "trust_region": TokenLaw(
        within_trust_region, takes_advantage=False, normalization="tokens", coef=None, quantile=None
    ),
}
