"""Measured figures of a probe in words, for the terminal and the page alike."""

from collections.abc import Iterator
from statistics import median

from .limits import described
from .probe_result import ProbeResult
from .regimes import Features


NOT_SHOWN = (
    "The rules come from a lab: models of two layers that calculate with single digits, answers of at most 56 tokens, "
    "3,200 to 12,800 rollouts. Large models, long reasoning, rewards other than right or wrong and demonstrations of "
    "many authors have not been shown there. Two runs on your own data, of the method and of the one after it, decide."
)
Fact = tuple[str, str]  # name and figure


def facts(result: ProbeResult) -> list[tuple[str, list[Fact]]]:
    """Groups of facts with their titles; what was not measured is left out or said."""
    return [
        ("The policy alone", list(_of_policy(result))),
        ("Behind a demonstration's beginning", list(_of_prefixes(result))),
        ("Demonstrations", list(_of_demonstrations(result))),
        ("The recipe", list(_of_recipe(result))),
    ]


def _of_policy(result: ProbeResult) -> Iterator[Fact]:
    alone = result.alone
    yield "success of an answer, pass@1", described(alone.share)
    tries = min(alone.tries, default=0)
    if tries > 1:
        solved = alone.pass_at_k(tries)
        low, high = solved.interval
        yield f"problems solved in {tries:,} tries, pass@{tries}", f"{solved.value:.2f} ({low:.2f} to {high:.2f})"
    without = result.groups_without_gradient
    if without == without:
        yield f"groups of {result.num_generations} without gradient", f"{without:.2f}"
    if result.answer_tokens:
        yield "tokens of an answer, median", f"{median(result.answer_tokens):,.0f}"
    if result.truncated.of:
        yield "answers cut off by the budget", described(result.truncated)


def _of_prefixes(result: ProbeResult) -> Iterator[Fact]:
    for ratio, probed in sorted(result.continued.items()):
        yield f"success behind {ratio:.0%}", described(probed.share)
    for ratio, share in sorted(result.answer_in_prefix.items()):
        if share.count:
            yield f"answer within the first {ratio:.0%}", described(share)


def _of_demonstrations(result: ProbeResult) -> Iterator[Fact]:
    features = Features(result)
    yield "rows with a demonstration", f"{result.demonstrated.count:,} of {result.demonstrated.of:,}"
    yield "right answers the reward can read", described(result.readable_answers)
    yield "demonstrations the reward accepts", described(result.accepted)
    yield "demonstrations that fit the budget", described(result.fitting)
    if result.demonstration_tokens:
        lengths = result.demonstration_tokens
        yield "tokens of a demonstration", f"{median(lengths):,.0f}, at most {max(lengths):,}"
    if features.first_likelihood is not None:
        yield "log-probability of the first token", f"{features.first_likelihood:.2f} nats"
    if features.likelihood is not None:
        yield "log-probability of a later token, mean", f"{features.likelihood:.2f} nats"
        yield f"later tokens below {features.limits.unlikely_logp:g} nats", described(features.unlikely)
    if result.token_entropies:
        yield "entropy at a token, mean", f"{sum(result.token_entropies) / len(result.token_entropies):.2f} nats"


def _of_recipe(result: ProbeResult) -> Iterator[Fact]:
    yield "rollouts of a prompt", f"{result.num_generations:,}"
    if result.max_steps is not None and result.max_steps > 0:
        yield "optimizer steps", f"{result.max_steps:,}"
    if result.rollouts is not None:
        yield "rollouts in all", f"{result.rollouts:,}"
    if result.memory_gb is not None:
        yield f"memory on {result.device or 'the device'}, estimated", f"{result.memory_gb:,.1f} GB"
    if result.step_seconds is not None:
        steps = f", {_duration(result.step_seconds * result.max_steps)} in all" if result.max_steps else ""
        yield f"a step on {result.device or 'the device'}, estimated", f"{result.step_seconds:,.1f} s{steps}"


def _duration(seconds: float) -> str:
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:,.0f} s"
