"""Rules that turn a probe into advice. The first that applies decides; each names its figures and its source.

What a rule claims of methods is what the lab has shown: docs/comparison.md, and the map of docs/which_method.md. Where
it has not measured such a case, or a threshold lies within an interval, nothing can be told.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .advised_changes import SettingChange, advised_changes
from .decisions import ADVISED, LAB, LABELS, MAP, MEND, SOLVED, UNJUDGED, UNKNOWN, Decision
from .limits import LIMITS, Limits, described, reaches
from .probe_result import ProbeResult
from .probe_warnings import probe_warnings
from .regimes import FOREIGN, IMITABLE, NO_HELP, UNLIKE_POLICY, Features


@dataclass(frozen=True)
class Advice:
    """
    Advice on a method and its settings.

    Args:
        decision ([`Decision`]): the method, or why there is none.
        regime (`str`): kind of demonstrations, in the words of the map.
        changes (`tuple[SettingChange, ...]`): settings to change besides those that make the method.
        warnings (`tuple[str, ...]`): what to look at before training, whatever the method.
    """

    decision: Decision
    regime: str
    changes: tuple[SettingChange, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        return self.decision.outcome

    @property
    def method(self) -> str | None:
        return self.decision.method

    @property
    def runner_up(self) -> str | None:
        return self.decision.runner_up

    @property
    def why(self) -> str:
        return self.decision.why

    @property
    def would_change(self) -> tuple[str, ...]:
        return self.decision.would_change

    @property
    def settings(self) -> dict[str, Any]:
        """The advised value of each setting."""
        return {change.setting: change.value for change in self.changes}

    @property
    def headline(self) -> str:
        """The method as people write it, or the outcome where there is none."""
        return LABELS[self.method] if self.method else self.outcome.capitalize()


def advise(result: ProbeResult, limits: Limits = LIMITS) -> Advice:
    """The method that fits what a probe has found, with reasons.

    Args:
        result ([`ProbeResult`]): of the probe. No part of it has to be measured.
        limits ([`Limits`], *optional*): thresholds; by default those of the map.
    """
    features = Features(result, limits)
    decision = next(found for rule in RULES if (found := rule(features)))
    changes = tuple(advised_changes(features, decision.method))
    regime = UNJUDGED if decision.outcome == MEND else features.regime
    return Advice(decision, regime, changes, tuple(probe_warnings(features)))


def broken_answers(features: Features) -> Decision | None:
    limit, share = features.limits.readable, features.result.readable_answers
    if reaches(share, limit) is not False:
        return None
    return Decision(
        MEND,
        f"The reward reads the right answer of {described(share)} rows, and a row that it cannot read rewards nothing "
        f"or the wrong thing. Mend the answers first: `prefix-rft data check` names the rows.",
        would_change=(f"Readable right answers for at least {limit:.0%} of the rows; now {share.value:.0%}.",),
    )


def broken_demonstrations(features: Features) -> Decision | None:
    limit, share = features.limits.accepted, features.result.accepted
    if reaches(share, limit) is not False:
        return None
    return Decision(
        MEND,
        f"{described(share)} of the demonstrations get a reward of at least 1: the others are wrong, or end in a form "
        "that the reward does not read, or it never gives 1. Mend them or the reward first; the lab has not tried "
        f"less than 46% right ones ({LAB}: 60% corrupted).",
        would_change=(f"A reward for at least {limit:.0%} of the demonstrations; now {share.value:.0%}.",),
    )


def nothing_sampled(features: Features) -> Decision | None:
    if features.alone.of:
        return None
    return Decision(
        UNKNOWN,
        "The probe has sampled no answer, so nothing is known of the policy. Advice starts from its success alone.",
        would_change=("Answers to some problems.",),
    )


def solved_already(features: Features) -> Decision | None:
    limit, alone = features.limits.solved, features.alone
    if not reaches(alone, limit):
        return None
    return Decision(
        SOLVED,
        f"The policy succeeds alone in {described(alone)} of its answers, and "
        f"{_percent(features.result.groups_without_gradient)} of the groups would carry no gradient. Take harder "
        "problems, or a reward that asks for more.",
        would_change=(f"Success alone below {limit:.2f}.",),
    )


def beyond_the_map(features: Features) -> Decision | None:
    limit, alone = features.limits.beyond_map, features.alone
    if not reaches(alone, limit):
        return None
    return Decision(
        UNKNOWN,
        f"The policy succeeds alone in {described(alone)} of its answers, and the lab's best base model in half. "
        "Plain RFT has much to reinforce there; whether demonstrations add to it has not been measured.",
        runner_up="grpo",
        would_change=(f"Success alone below {limit:.2f}: harder problems.",),
    )


def hardly_any_demonstrations(features: Features) -> Decision | None:
    demonstrated, alone, limits = features.result.demonstrated, features.alone, features.limits
    if demonstrated.count >= limits.too_few:
        return None
    found = f"{demonstrated.count:,} of {demonstrated.of:,} rows have a demonstration"
    guess_rate = features.result.guess_rate
    guesses = limits.skilled if guess_rate is None else guess_rate
    assumed = (
        f"Guesses are assumed to succeed in at most {guesses:.2f} (in the lab in 0.18); `--guess_rate` says it."
        if guess_rate is None
        else f"Guesses succeed in {guesses:.2f} (`--guess_rate`)."
    )
    if alone.interval[0] > guesses:
        return Decision(
            ADVISED,
            f"{found}, too few to teach anything in the lab ({LAB}), and the policy succeeds alone in "
            f"{described(alone)} of its answers. That is above guessing, and {_with_gradient(features)} of the groups "
            f"have a gradient, so there is something to reinforce. {assumed}",
            method="grpo",
            would_change=(
                f"Success alone that may be {guesses:.2f}, as of guesses: cannot tell.",
                f"At least {limits.enough} demonstrations: they would be probed as well.",
            ),
        )
    return Decision(
        UNKNOWN,
        f"{found}, and the policy succeeds alone in {described(alone)} of its answers. With five demonstrations no "
        f"method learned anything in the lab, and RFT stayed at 0.17 where 0.18 was guessing ({LAB}). {assumed}",
        runner_up="grpo",
        would_change=(
            f"At least {limits.enough} demonstrations.",
            f"Success alone above {guesses:.2f} by its whole interval: RFT. Easier problems first, a larger model, or "
            "another `--guess_rate`.",
        ),
    )


def few_demonstrations(features: Features) -> Decision | None:
    demonstrated, limits = features.result.demonstrated, features.limits
    if demonstrated.count >= limits.enough:
        return None
    found = f"{demonstrated.count:,} of {demonstrated.of:,} rows have a demonstration"
    if features.regime != IMITABLE:
        return Decision(
            UNKNOWN,
            f"{found}. In the lab's map SFT then RFT reached 0.88 with 51 and 0.17 with 15, and HPT 0.78 with 15, of "
            f"demonstrations that the policy could follow ({MAP}). These are {features.regime}.",
            runner_up="hpt",
            would_change=(f"At least {limits.enough} demonstrations, or such as the policy can follow to their end.",),
        )
    return Decision(
        ADVISED,
        f"{found}, which the policy can follow: success is {_successes(features)}. With 15 of 512 HPT reached 0.75 "
        f"to 0.81 in the lab's map, UFT 0.42 to 0.80, and SFT then RFT and Prefix-RFT stayed at guessing ({MAP}).",
        method="hpt",
        runner_up="uft",
        would_change=(
            f"At least {limits.enough} demonstrations: SFT then RFT.",
            f"Fewer than {limits.too_few}: cannot tell.",
            *_of_quality(features),
        ),
    )


def untried_quality(features: Features) -> Decision | None:
    """Demonstrations of a known kind, of which the reward accepts fewer than the lab has tried."""
    accepted, limit = features.result.accepted, features.limits.tried
    if features.regime not in (IMITABLE, UNLIKE_POLICY) or reaches(accepted, limit):
        return None
    found = (
        f"The reward accepts {described(accepted)} of the demonstrations, and the lab has not tried less than 46% "
        f"right ones ({LAB}: 60% corrupted)."
        if accepted.of
        else "No demonstration was scored, so that it is open whether they are right."
    )
    return Decision(
        UNKNOWN,
        f"{found} Otherwise they are {features.regime}: success is {_successes(features)}.",
        runner_up="sft_then_rft" if features.regime == IMITABLE else "prefix_rft",
        would_change=(f"A reward for at least {limit:.0%} of the demonstrations, by its whole interval.",),
    )


def imitable(features: Features) -> Decision | None:
    if features.regime != IMITABLE:
        return None
    accepted, limits = features.result.accepted, features.limits
    is_clean = reaches(accepted, limits.clean)
    has_prefixes = features.result.demonstrated.value >= limits.covered
    runner_up = "sft" if is_clean or not has_prefixes else "prefix_rft"
    return Decision(
        ADVISED,
        f"The policy can follow the demonstrations: success is {_successes(features)}, and "
        f"{features.unlikely.value:.1%} of their tokens are ones that it would hardly write. In the lab SFT then RFT "
        "was then best or level: 0.93 against Prefix-RFT's 0.82 with all demonstrations, 0.84 against 0.21 with a "
        f"tenth of them ({LAB}). With 60% corrupted the lab does not tell the two apart: 0.88 and 0.80.",
        method="sft_then_rft",
        runner_up=runner_up,
        would_change=(
            f"Success behind almost all of a demonstration below {features.least_end:.2f} (now "
            f"{features.end.value:.2f}), or at least {limits.unlikely:.0%} of tokens that the policy would hardly "
            "write: Prefix-RFT, as imitation would then lead astray.",
            *_of_quantity(features),
            *_of_quality(features),
        ),
    )


def unlike_the_policy(features: Features) -> Decision | None:
    if features.regime != UNLIKE_POLICY:
        return None
    demonstrated, limits = features.result.demonstrated, features.limits
    shape = (
        f"Prefixes help, but the policy does not follow demonstrations to their end: success is "
        f"{_successes(features)}, and {features.unlikely.value:.1%} of their tokens are ones that it would hardly "
        "write."
    )
    of_end = (
        f"Success behind almost all of a demonstration of at least {features.least_end:.2f} (now "
        f"{features.end.value:.2f}), and less than {limits.unlikely:.0%} of tokens that the policy would hardly write "
        f"(now {features.unlikely.value:.1%}): SFT then RFT."
    )
    if demonstrated.value < limits.covered:
        return Decision(
            UNKNOWN,
            f"{shape} Prefix-RFT is the method for that, but {demonstrated.count:,} of {demonstrated.of:,} rows have "
            f"a demonstration, and with 10% it stayed at the base model's accuracy in the lab ({LAB}).",
            runner_up="prefix_rft",
            would_change=(f"Demonstrations for at least {limits.covered:.0%} of the rows: Prefix-RFT.", of_end),
        )
    return Decision(
        ADVISED,
        f"{shape} Where a step was left out Prefix-RFT alone learned with each seed of the lab's map (0.81), UFT with "
        f"two of three, and what imitates to the end with none: SFT then RFT 0.14, SFT 0.13, HPT 0.12 ({MAP}).",
        method="prefix_rft",
        runner_up="uft",
        would_change=(
            of_end,
            f"Demonstrations for less than {limits.covered:.0%} of the rows (now {demonstrated.value:.0%}): cannot "
            "tell.",
            *_of_quality(features),
        ),
    )


def foreign(features: Features) -> Decision | None:
    if features.regime != FOREIGN:
        return None
    return Decision(
        UNKNOWN,
        f"A token of a demonstration has a log-probability of {features.likelihood:.1f} nats under the policy, which "
        f"does not write like that, and success is {_successes(features)}. Whether such a style can be learned is not "
        f"told before it is tried: in the lab's map SFT then RFT learned one (results before their terms: 0.78), and "
        f"no method another (two operations in a step; {MAP}).",
        runner_up="sft_then_rft",
        would_change=(
            f"Demonstrations in the policy's own style: at least {features.limits.own_words:.1f} nats a token.",
            "A run of SFT on them: if held-out success rises, SFT then RFT.",
        ),
    )


def no_help(features: Features) -> Decision | None:
    if features.regime != NO_HELP:
        return None
    return Decision(
        UNKNOWN,
        f"The policy could have written the demonstrations ({features.likelihood:.1f} nats a token), yet prefixes do "
        f"not help: success is {_successes(features)}. The lab has not measured such a case.",
        would_change=(
            "Continuations that the budget does not cut off, or answers in the form that the reward reads.",
            "Success behind prefixes above that alone.",
        ),
    )


def not_told(features: Features) -> Decision:
    return Decision(
        UNKNOWN,
        f"The probe is too small, or too little was measured: success is {_successes(features)}. What decides is "
        f"whether the second is above the first, the third at least {features.least_end:.2f}, and less than "
        f"{features.limits.unlikely:.0%} of the tokens such as the policy would hardly write.",
        would_change=("More problems or more tries in the probe, which make the intervals narrower.",),
    )


RULES: tuple[Callable[[Features], Decision | None], ...] = (
    broken_answers,
    broken_demonstrations,
    nothing_sampled,
    solved_already,
    hardly_any_demonstrations,
    beyond_the_map,
    untried_quality,
    few_demonstrations,
    imitable,
    unlike_the_policy,
    foreign,
    no_help,
    not_told,
)


def _successes(features: Features) -> str:
    return (
        f"{described(features.alone)} alone, {described(features.middle)} behind a quarter to three quarters of a "
        f"demonstration, and {described(features.end)} behind almost all of it"
    )


def _of_quantity(features: Features) -> Iterator[str]:
    count = features.result.demonstrated.count
    yield f"Fewer than {features.limits.enough} demonstrations (now {count:,}): HPT."


def _of_quality(features: Features) -> Iterator[str]:
    accepted, limit = features.result.accepted, features.limits.accepted
    if accepted.of:
        yield f"A reward for less than {limit:.0%} of the demonstrations (now {accepted.value:.0%}): mend them first."


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == share else "an unknown share"


def _with_gradient(features: Features) -> str:
    return _percent(1 - features.result.groups_without_gradient)
