"""Findings of a probe: how often a policy succeeds alone and behind prefixes, and how demonstrations look to it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from math import comb, prod
from pathlib import Path
from typing import Any, NamedTuple

from prefix_rft_trl.evaluation.scores import interval_of_share, over_problems, pass_at_k
from prefix_rft_trl.utils.files import read_object, write_atomically
from prefix_rft_trl.utils.intervals import wilson_interval


PROBED_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.95)  # shares of a demonstration that are continued
LENGTHS = ("read_tokens", "demonstration_tokens", "answer_tokens")


class SolvedShare(NamedTuple):
    """Expected share of problems with at least one success, and its 95% interval over problems."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval (Wilson's).

    Args:
        count, of (`int`): how many of how many.
        draws (`float`, *optional*): independent draws that tell as much; all that were counted by default.
    """

    count: int
    of: int
    draws: float | None = None

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        draws = self.of if self.draws is None else self.draws
        return (self.of and wilson_interval(self.value, draws)) or (0.0, 1.0)


@dataclass(frozen=True)
class Probed:
    """
    Successes on the probed problems: rewards of at least 1, as in an evaluation.

    Problems whose answers get no reward, such as those whose right answer cannot be read, are left out.

    Args:
        successes (`tuple[int, ...]`): of each problem, out of its `tries`.
        tries (`tuple[int, ...]`): answers to each problem.
    """

    successes: tuple[int, ...]
    tries: tuple[int, ...]

    @property
    def share(self) -> Share:
        """The share of successes, whose interval takes the answers to a problem for as alike as they are."""
        return Share(sum(self.successes), sum(self.tries), self.effective_draws)

    @property
    def effective_draws(self) -> float:
        """Independent answers whose share would vary as much as this one does if other problems were drawn.

        That is the number of answers by the design effect (Kish, 1965, Survey Sampling, section 8.2), with the
        variance of a ratio between problems. It is at most the number of answers, and at least what it would be if all
        answers to a problem were the same. It is this where all answers are alike, which tells nothing of problems.
        """
        answers, share = sum(self.tries), sum(self.successes) / max(1, sum(self.tries))
        tried = [(right, tries) for right, tries in zip(self.successes, self.tries, strict=True) if tries]
        if not tried:
            return 0.0
        least = answers**2 / sum(tries**2 for _, tries in tried)
        squares = sum((right - share * tries) ** 2 for right, tries in tried)
        if len(tried) < 2 or not squares:
            return least if not 0 < share < 1 or len(tried) < 2 else float(answers)
        variance = squares * len(tried) / (len(tried) - 1) / answers**2
        return min(float(answers), max(least, share * (1 - share) / variance))

    def pass_at_k(self, k: int) -> SolvedShare:
        """Pass@k, the unbiased estimate of each problem with at least `k` tries, averaged over these.

        Raises:
            ValueError: if no problem has as many tries.
        """
        values = [
            float(pass_at_k(tries, [successes])[0, k - 1])
            for successes, tries in zip(self.successes, self.tries, strict=True)
            if 1 <= k <= tries
        ]
        if not values:
            raise ValueError(f"No problem has {k} answers with a reward, which pass@{k} needs. Take a smaller k.")
        mean = over_problems(values)
        return SolvedShare(mean.mean, interval_of_share(mean) or (0.0, 1.0))

    def equal_groups(self, size: int) -> float:
        """Expected share of groups of `size` answers to a problem that are all successes or all failures.

        Where a problem has at least as many tries, it is the share of the choices of `size` of them that are alike,
        which is unbiased. With fewer tries it is the mean under the beta posterior of the problem's success rate,
        whose prior has the weight of one answer and the mean of all problems. NaN without any problem.
        """
        prior = (sum(self.successes) + 0.5) / (sum(self.tries) + 1)
        shares = [
            _alike(successes, tries, size) if tries >= size else _expected_alike(successes, tries, size, prior)
            for successes, tries in zip(self.successes, self.tries, strict=True)
        ]
        return sum(shares) / len(shares) if shares else float("nan")


def pooled_share(probed: Iterable[Probed]) -> Share:
    """The share of successes in several samples of the same problems, which each has in the same order.

    Where some lack problems these cannot be matched, and more samples count for no more independent draws than the
    largest of them has.
    """
    every = list(probed)
    if len({len(one.tries) for one in every}) > 1:
        count, of = sum(sum(one.successes) for one in every), sum(sum(one.tries) for one in every)
        return Share(count, of, max(one.effective_draws for one in every))
    successes = zip(*(one.successes for one in every), strict=True)
    tries = zip(*(one.tries for one in every), strict=True)
    return Probed(tuple(map(sum, successes)), tuple(map(sum, tries))).share


def _alike(successes: int, tries: int, size: int) -> float:
    return (comb(successes, size) + comb(tries - successes, size)) / comb(tries, size)


def _expected_alike(successes: int, tries: int, size: int, prior: float) -> float:
    """E[p^size + (1 - p)^size] for p of a beta posterior."""
    of_success, of_failure = successes + prior, tries - successes + 1 - prior
    every = [of_success + of_failure + drawn for drawn in range(size)]
    return sum(prod((one + drawn) / every[drawn] for drawn in range(size)) for one in (of_success, of_failure))


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
        read_tokens (`tuple[int, ...]`): how many of these tokens each probed demonstration has, in their order.
        demonstration_tokens (`tuple[int, ...]`): lengths.
        answer_tokens (`tuple[int, ...]`): lengths of the answers to the prompt alone.
        truncated (`Share`): answers that the budget cut off.
        memory_gb, step_seconds (`float`, *optional*): estimates for the device that was named.
        device (`str`, *optional*): that device.
        max_steps (`int`, *optional*): optimizer steps of the recipe.
        rollouts (`int`, *optional*): of the whole recipe.
        step_rows (`int`, *optional*): rows of a step, of all processes.
        epochs (`float`, *optional*): passes of the recipe over its rows, where these and not its steps end it.
        validation_split (`str`, *optional*): split with demonstrations that are not trained on.
        guess_rate (`float`, *optional*): success of guesses.
        notes (`tuple[str, ...]`): what the probe does not do as the training, in sentences.
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
    read_tokens: tuple[int, ...]
    demonstration_tokens: tuple[int, ...]
    answer_tokens: tuple[int, ...]
    truncated: Share
    memory_gb: float | None = None
    step_seconds: float | None = None
    device: str | None = None
    max_steps: int | None = None
    rollouts: int | None = None
    step_rows: int | None = None
    epochs: float | None = None
    validation_split: str | None = None
    guess_rate: float | None = None
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def groups_without_gradient(self) -> float:
        """Expected share of groups of `num_generations` plain rollouts whose rewards are all equal; NaN if unknown."""
        return self.alone.equal_groups(self.num_generations)

    def write(self, file: Path) -> None:
        """Writes the findings as JSON."""
        write_atomically(file, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, file: Path) -> "ProbeResult":
        """The findings of a file.

        Raises:
            ValueError: if it is damaged or lacks a finding.
        """
        names, remedy = [one.name for one in fields(cls)], f"Remove {file}, and probe again."
        found = read_object(file, remedy, names)
        try:
            return cls._from_json({name: found[name] for name in names})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is damaged: a finding cannot be read ({error}). {remedy}") from error

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> "ProbeResult":
        content["alone"] = _probed(content["alone"])
        content["continued"] = {float(ratio): _probed(found) for ratio, found in content["continued"].items()}
        shares = content["answer_in_prefix"]
        content["answer_in_prefix"] = {float(ratio): Share(**found) for ratio, found in shares.items()}
        for name in ("demonstrated", "accepted", "fitting", "readable_answers", "truncated"):
            content[name] = Share(**content[name])
        for name in ("token_logps", "token_entropies", "first_token_logps", *LENGTHS, "notes"):
            content[name] = tuple(content[name])
        return cls(**content)


def _probed(content: dict[str, list[int]]) -> Probed:
    return Probed(tuple(content["successes"]), tuple(content["tries"]))
