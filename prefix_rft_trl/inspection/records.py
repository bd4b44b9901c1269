"""Plain values that the page shows; independent of models and of HTML."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A token of a demonstration, or of the policy's continuation.

    Attributes:
        text (`str`): what it adds to the text; empty if it only begins a character that later tokens complete.
        entropy (`float`): of the policy's distribution at its position, in nats.
        probability (`float`): under the policy.
        selected (`bool`): whether it is a prefix token that is trained.
    """

    text: str
    entropy: float
    probability: float
    selected: bool = False


@dataclass(frozen=True)
class HybridRollout:
    """A rollout that starts with a prefix of a demonstration.

    Attributes:
        prefix (`tuple[Token]`): the given part of the demonstration.
        continuation (`tuple[Token]`): what the policy wrote after it, and results of tools.
        rest (`tuple[Token]`): the remainder of the demonstration, scored under the policy as a continuation of the
            prefix.
        reward (`float`): of prefix and continuation together.
        prefix_advantage (`float` or `None`): of the selected prefix tokens; `None` if they are imitated whatever the
            reward.
        advantage (`float`): of the continuation.
        parts (`tuple`): of a completion with tool calls, in order: `"prefix"`, `"written"` or `"result"`, and tokens.
    """

    prefix: tuple[Token, ...]
    continuation: tuple[Token, ...]
    rest: tuple[Token, ...]
    reward: float
    prefix_advantage: float | None
    advantage: float
    parts: tuple[tuple[str, tuple[Token, ...]], ...] = ()

    @property
    def shown(self) -> tuple[tuple[str, tuple[Token, ...]], ...]:
        """The completion up to the end of the prefix, and from there on."""
        return self.parts or (("prefix", self.prefix), ("written", self.continuation))

    @property
    def last_prefix_part(self) -> int:
        return max(place for place, (kind, _) in enumerate(self.shown) if kind == "prefix")

    @property
    def num_selected(self) -> int:
        return sum(token.selected for token in self.prefix)


@dataclass(frozen=True)
class OnPolicyRollout:
    """A rollout written by the policy alone."""

    text: str
    tokens: int
    reward: float
    advantage: float


@dataclass(frozen=True)
class Group:
    """The rollouts of one dataset row; `prompt` includes the chat template, as the policy reads it."""

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
    """The groups of a training step, and the settings behind them as (name, value) pairs."""

    settings: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]

    @property
    def has_results(self) -> bool:
        """Whether a tool has answered in a rollout that is shown token by token."""
        hybrids = (rollout for group in self.groups for rollout in group.hybrids)
        return any(kind == "result" for rollout in hybrids for kind, _ in rollout.parts)
