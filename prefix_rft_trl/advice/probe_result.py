"""Findings of a probe: how often a policy succeeds alone and behind prefixes, and how demonstrations look to it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prefix_rft_trl.utils.intervals import wilson_interval


PROBED_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.95)  # shares of a demonstration that are continued


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval (Wilson's)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.count, self.of) if self.of else (0.0, 1.0)


@dataclass(frozen=True)
class Probed:
    """
    Successes on the probed problems.

    Args:
        successes (`tuple[int, ...]`): of each problem, out of its `tries`.
        tries (`tuple[int, ...]`): answers to each problem.
    """

    successes: tuple[int, ...]
    tries: tuple[int, ...]

    @property
    def share(self) -> Share:
        return Share(sum(self.successes), sum(self.tries))


@dataclass(frozen=True)
class ProbeResult:
    """
    Findings of a probe, all that the rules of the advice read.

    Args:
        model, dataset, reward (`str`): names, as a reader knows them.
        num_generations (`int`): rollouts of a prompt in the recipe.
        alone (`Probed`): answers to the prompt alone.
        continued (`dict[float, Probed]`): continuations by the share of a demonstration before them.
        rows (`int`): of the training dataset.
        demonstrated (`Share`): rows that have a demonstration.
        accepted (`Share`): demonstrations that the reward accepts, of those that were scored.
        fitting (`Share`): demonstrations that fit `max_completion_length`.
        readable_answers (`Share`): rows whose right answer the reward can read.
        answer_in_prefix (`dict[float, Share]`): prefixes that hold the answer, by their share of the demonstration.
        token_logps (`tuple[float, ...]`): log-probability in nats of each demonstration token under the policy, over
            the probed demonstrations.
        token_entropies (`tuple[float, ...]`): entropy in nats at the same tokens.
        first_token_logps (`tuple[float, ...]`): log-probability of the first token of each probed demonstration.
        demonstration_tokens (`tuple[int, ...]`): lengths.
        answer_tokens (`tuple[int, ...]`): lengths of the answers to the prompt alone.
        truncated (`Share`): answers that the budget cut off.
        memory_gb, step_seconds (`float`, *optional*): estimates for the device that was named.
        device (`str`, *optional*): that device.
        max_steps (`int`, *optional*): optimizer steps of the recipe.
        rollouts (`int`, *optional*): of the whole recipe.
        settings (`dict`): of the probe, by which a folder is known again.
    """

    model: str
    dataset: str
    reward: str
    num_generations: int
    alone: Probed
    continued: dict[float, Probed]
    rows: int
    demonstrated: Share
    accepted: Share
    fitting: Share
    readable_answers: Share
    answer_in_prefix: dict[float, Share]
    token_logps: tuple[float, ...]
    token_entropies: tuple[float, ...]
    first_token_logps: tuple[float, ...]
    demonstration_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    truncated: Share
    memory_gb: float | None = None
    step_seconds: float | None = None
    device: str | None = None
    max_steps: int | None = None
    rollouts: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def groups_without_gradient(self) -> float:
        """Expected share of groups of `num_generations` rollouts whose rewards are all equal."""
        raise NotImplementedError("SKELETON")
