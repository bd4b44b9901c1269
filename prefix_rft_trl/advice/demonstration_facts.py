"""Count what demonstrations are worth before any training: accepted by the reward, fitting, holding the answer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from prefix_rft_trl.evaluation.benchmark import Answer
from prefix_rft_trl.evaluation.sampling import Chunk, Place, Sampling
from prefix_rft_trl.rewards.registry import is_registered

from .probe_result import PROBED_RATIOS, Share
from .probed_answers import ProbedAnswers, cut_at
from .probed_subject import ProbedDemonstration, ProbedSubject


MOST_ROWS = 512  # that are encoded and scored
SCORED_AT_A_TIME = 64


@dataclass(frozen=True)
class DemonstrationFacts:
    """Of the rows that were looked at; the fields are those of a [`ProbeResult`]."""

    demonstrated: Share
    accepted: Share
    fitting: Share
    readable_answers: Share
    answer_in_prefix: dict[float, Share]
    demonstration_tokens: tuple[int, ...]


def rows_looked_at(subject: ProbedSubject, rows: list[int]) -> list[int]:
    """Those rows, in order, that the facts are of: the first 512, and the first 512 with a demonstration."""
    return list(dict.fromkeys([*rows[:MOST_ROWS], *_demonstrated(subject, rows)]))


def _demonstrated(subject: ProbedSubject, rows: list[int]) -> list[int]:
    return [row for row in rows if row in subject.demonstrations][:MOST_ROWS]


def find_facts(subject: ProbedSubject, rows: list[int]) -> DemonstrationFacts:
    """
    The facts of a dataset.

    Args:
        subject (`ProbedSubject`): with the dataset.
        rows (`list[int]`): all of its rows, in the order in which they are looked at, at most 512 of a kind.
    """
    encoded = list(subject.encode(_demonstrated(subject, rows)))
    decode = subject.tokenizer.decode
    answers = [Answer(one.ids, decode(one.ids, skip_special_tokens=True), False) for one in encoded]
    rows_of = [one.row for one in encoded]
    rewards = dict(zip(rows_of, _rewards(subject, rows_of, answers), strict=True))
    scored = [reward for reward in rewards.values() if reward is not None]
    fitting = sum(len(one.ids) < subject.max_completion_length for one in encoded)
    return DemonstrationFacts(
        demonstrated=Share(len(subject.demonstrations), len(subject.rows)),
        accepted=Share(sum(reward >= 1 for reward in scored), len(scored)),
        fitting=Share(fitting, len(encoded)),
        readable_answers=_readable_answers(subject, rows[:MOST_ROWS], rewards),
        answer_in_prefix={ratio: _with_answer(subject, encoded, ratio) for ratio in PROBED_RATIOS},
        demonstration_tokens=tuple(len(one.ids) for one in encoded),
    )


def _rewards(subject: ProbedSubject, rows: list[int], answers: list[Answer]) -> list[float | None]:
    if not rows:
        return []
    asked = ProbedAnswers("demonstrations", subject.rows.select(rows), subject.reward, Sampling())
    found: list[float | None] = []
    with tqdm(total=len(rows), desc="Scoring rows", unit="row") as bar:
        for chunk in _chunks(len(rows)):
            together = [answers[place.problem] for place in chunk.places]
            found += [sample.reward for sample in asked.score(chunk, together)]
            bar.update(len(together))
    return found


def _chunks(number: int) -> Iterator[Chunk]:
    for index, start in enumerate(range(0, number, SCORED_AT_A_TIME)):
        yield Chunk(index, tuple(Place(row, 0) for row in range(start, min(start + SCORED_AT_A_TIME, number))))


def _readable_answers(subject: ProbedSubject, rows: list[int], rewards: dict[int, Any]) -> Share:
    """Rows whose right answer the reward can read: it scores any answer then, be it empty.

    A reward of the user's own may have no score for an empty answer: it is judged by the demonstrations alone.
    """
    is_tried = is_registered(subject.reward)
    found = _rewards(subject, rows, [Answer([], "", True)] * len(rows)) if is_tried else list(rewards.values())
    return Share(sum(reward is not None for reward in found), len(found))


def _with_answer(subject: ProbedSubject, encoded: list[ProbedDemonstration], ratio: float) -> Share:
    """Prefixes that hold the answer, of those where that can be told."""
    found = [cut_at(subject, one, ratio, excludes_answer=False).states_answer for one in encoded]
    known = [states_answer for states_answer in found if not math.isnan(states_answer)]
    return Share(int(sum(known)), len(known))
