"""What the page shows, as plain values: nothing here knows of models or of HTML."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A token of a demonstration or of what the policy wrote after a part of it.

    Attributes:
        text (`str`): what it adds to the text; empty if it only begins a character that the next tokens complete.
        entropy (`float`): of the policy's distribution at its place, in nats.
        probability (`float`): that the policy gives it.
        kept (`bool`): whether it is a prefix token that is trained.
    """

    text: str
    entropy: float
    probability: float
    kept: bool = False


@dataclass(frozen=True)
class HybridRollout:
    """A rollout that starts with a prefix of a demonstration.

    Attributes:
        prefix (`tuple[Token]`): the part of the demonstration that was given.
        continuation (`tuple[Token]`): what the policy wrote from there.
        rest (`tuple[Token]`): the part of the demonstration that was not given, each token read after those before it.
        reward (`float`): of prefix and continuation together.
        prefix_advantage (`float` or `None`): of the prefix tokens that are kept; `None` if they are imitated
            whatever the reward.
        advantage (`float`): of the continuation.
    """

    prefix: tuple[Token, ...]
    continuation: tuple[Token, ...]
    rest: tuple[Token, ...]
    reward: float
    prefix_advantage: float | None
    advantage: float

    @property
    def kept(self) -> int:
        return sum(token.kept for token in self.prefix)


@dataclass(frozen=True)
class OnPolicyRollout:
    """A rollout that the policy wrote from its first token on."""

    text: str
    tokens: int
    reward: float
    advantage: float


@dataclass(frozen=True)
class Group:
    """The rollouts of one row of the dataset; `prompt` is as the policy reads it, template included."""

    row: int
    prompt: str
    hybrids: tuple[HybridRollout, ...]
    on_policy: tuple[OnPolicyRollout, ...]

    @property
    def mean_reward(self) -> float:
        rewards = [*(rollout.reward for rollout in self.hybrids), *(rollout.reward for rollout in self.on_policy)]
        return sum(rewards) / len(rewards)


@dataclass(frozen=True)
class Inspection:
    """The groups of a step, and the settings that they come from as pairs of a name and a value."""

    settings: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]
