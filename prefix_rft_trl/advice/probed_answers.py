"""Answers of a model to prompts alone, and behind prefixes of demonstrations, sampled as those of benchmarks are."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prefix_rft_trl.evaluation.benchmark import Answer, Benchmark
from prefix_rft_trl.evaluation.samples import Sample
from prefix_rft_trl.evaluation.sampling import Chunk, Loaded, Sampling
from prefix_rft_trl.method.prefixes import Assignment, Prefix
from prefix_rft_trl.rollouts import cut_prefix

from .probe_result import Probed, Share
from .probed_subject import ProbedDemonstration, ProbedSubject


ALONE = "alone"


class ProbedAnswers(Benchmark):
    """Answers to prompts alone, scored even where no right answer can be read: that is a finding."""

    def check_golds(self) -> None:
        pass


@dataclass(frozen=True)
class Continuations(ProbedAnswers):
    """
    Continuations of prefixes: what is scored is prefix and continuation, as in training.

    Attributes:
        prefixes (`list[list[int]]`): token ids behind the prompt of each row; `prompt_ids` end in them.
        budget (`int`): tokens of a prefix and its continuation together.
    """

    prefixes: list[list[int]] = field(default_factory=list, repr=False)
    budget: int = 0

    def sample(self, model: Loaded, chunk: Chunk) -> list[Answer]:
        return [
            self._completion(model, self.prefixes[place.problem], answer)
            for place, answer in zip(chunk.places, super().sample(model, chunk), strict=True)
        ]

    def _completion(self, model: Loaded, prefix: list[int], answer: Answer) -> Answer:
        left = self.budget - len(prefix)
        ids = [*prefix, *answer.ids[:left]]
        is_truncated = answer.is_truncated or len(answer.ids) > left
        return Answer(ids, model.tokenizer.decode(ids, skip_special_tokens=True), is_truncated)


def answers_alone(subject: ProbedSubject, rows: list[int], sampling: Sampling) -> ProbedAnswers:
    """Answers to the prompts of rows."""
    asked: Any = ProbedAnswers(ALONE, subject.rows.select(rows), **_shared(subject, sampling))
    return asked.encoded(subject.tokenizer)


def continuations(
    subject: ProbedSubject, demonstrations: list[ProbedDemonstration], ratio: float, sampling: Sampling
) -> Continuations | None:
    """Continuations from a share of demonstrations; `None` if none of them has a prefix of that share."""
    cut = [
        (one, cut_at(subject, one, ratio, subject.excludes_answer).ids) for one in demonstrations if len(one.ids) > 1
    ]
    given = [(one, ids) for one, ids in cut if ids]
    if not given:
        return None
    longest = subject.max_completion_length - min(len(ids) for _, ids in given)
    return Continuations(
        f"after_{ratio:.0%}".rstrip("%"),
        subject.rows.select([one.row for one, _ in given]),
        **_shared(subject, replace(sampling, max_new_tokens=longest)),
        prompt_ids=[[*one.prompt_ids, *ids] for one, ids in given],
        prefixes=[ids for _, ids in given],
        budget=subject.max_completion_length,
    )


def _shared(subject: ProbedSubject, sampling: Sampling) -> dict[str, Any]:
    return {
        "reward": subject.reward,
        "sampling": sampling,
        "template_kwargs": subject.template_kwargs,
        "reward_kwargs": subject.reward_kwargs,
        "prompting": subject.prompting,
    }


def cut_at(subject: ProbedSubject, demonstration: ProbedDemonstration, ratio: float, excludes_answer: bool) -> Prefix:
    """The prefix that a rollout with this ratio would start from."""
    args: Any = SimpleNamespace(
        max_completion_length=subject.max_completion_length,
        prefix_placement="completion",
        prefix_exclude_answer=excludes_answer,
    )
    assignment = Assignment(True, ratio=ratio, answer=subject.answer(demonstration.row))
    end = subject.tokenizer.eos_token_id
    return cut_prefix(demonstration.ids, assignment, args, end, partial(subject.tokenizer.decode))


def read_successes(asked: Benchmark, folder: Path) -> tuple[Probed, list[Sample]]:
    """Successes of the problems with scored answers, and all samples, from the folder that they were written to."""
    samples = list(asked.samples_in(folder).read(asked.chunks))
    by_problem: dict[int, list[float]] = {}
    for sample in samples:
        if sample.reward is not None:
            by_problem.setdefault(sample.problem, []).append(sample.reward)
    successes = [sum(reward >= 1 for reward in rewards) for rewards in by_problem.values()]
    return Probed(tuple(successes), tuple(map(len, by_problem.values()))), samples


def share_of_answers(samples: list[Sample], holds: Callable[[Sample], bool]) -> Share:
    """The answers of which something holds, whose interval takes those to a problem for as alike as they are."""
    by_problem: dict[int, list[bool]] = {}
    for sample in samples:
        by_problem.setdefault(sample.problem, []).append(holds(sample))
    return Probed(tuple(map(sum, by_problem.values())), tuple(map(len, by_problem.values()))).share
