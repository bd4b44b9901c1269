"""Prefixes: which rollouts of a group are hybrid, which demonstration each starts from, and where it is cut.

Nothing here touches a global random state. The draws of a rollout come from (seed, step, row), so they are the same on
one process and on many, and after a resume.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from .replay import OwnSuccess
from .schedules import DISTRIBUTIONS, MAX_SLICES, draw_binomial
from .trajectories import Trajectory, TurnPiece


Decode = Callable[[list[int]], str]

_SENTENCE_END = re.compile(r"(?:[.!?](?=\s)|[;\n])\s*")


@dataclass(frozen=True)
class Assignment:
    """The demonstration and the prefix ratio that are drawn for one rollout.

    Attributes:
        planned (`bool`): whether it is one of the `num_prefix_generations` rollouts of its group.
        demonstration (`dict`, `Trajectory`, `OwnSuccess` or `None`): the message, the turns, or the completion of its
            own, that it starts from; `None` makes it an on-policy rollout.
        ratio (`float`): fraction of the demonstration that the prefix has.
        key (`tuple[int, int, int]`): (seed, step, row), which seeds its draws.
        answer: the correct answer, as in the dataset row.
        index (`int` or `None`): place of the demonstration among those of its prompt that are not empty.
        is_whole (`bool`): whether it gets all of the demonstration and its end of sequence, and samples nothing.
        in_slices (`bool`): whether `ratio` is the probability of each slice of the demonstration's sentences.
    """

    planned: bool = False
    demonstration: dict[str, Any] | Trajectory | OwnSuccess | None = None
    ratio: float = math.nan
    key: tuple[int, int, int] = (0, 0, 0)
    answer: object = None
    index: int | None = None
    is_whole: bool = False
    in_slices: bool = False


ON_POLICY = Assignment()
LEFT_ON_POLICY = Assignment(planned=True)  # no demonstration, or none wanted for this problem


def is_hybrid(row: int, num_generations: int, num_prefix_generations: int) -> bool:
    """Whether the rollout at a global row index is one of the first `num_prefix_generations` of its group."""
    return row % num_generations < num_prefix_generations


def is_guided(group: int, share: float) -> bool:
    """Whether a group is among the share of all groups that get demonstrations: evenly spread, and exact."""
    exact = Fraction(str(share))
    return math.floor((group + 1) * exact) > math.floor(group * exact)


def assign(
    demonstrations: Sequence[dict[str, Any] | Trajectory | OwnSuccess],
    key: tuple[int, int, int],
    ratio_bounds: tuple[float, float],
    distribution: str = "uniform",
    answer: object = None,
    is_whole: bool = False,
) -> Assignment:
    """Draws one of a prompt's demonstrations, and the prefix ratio of the rollout.

    Args:
        demonstrations (`Sequence[dict | Trajectory | OwnSuccess]`): those of the prompt; without any the
            rollout stays on-policy.
        key (`tuple[int, int, int]`): seed of the run, optimizer steps done so far, and index of the rollout among all
            that are generated in this step, over all processes.
        ratio_bounds (`tuple[float, float]`): bounds of the ratio's distribution at this step.
        distribution (`str`): name in `DISTRIBUTIONS`.
        answer: the correct answer, as in the dataset row.
        is_whole (`bool`): whether the rollout gets all of its demonstration.
    """
    if not demonstrations:
        return LEFT_ON_POLICY
    rng = np.random.default_rng(key)
    index = int(rng.integers(len(demonstrations)))
    ratio = DISTRIBUTIONS[distribution](rng, *ratio_bounds)
    if ratio <= 0:
        return LEFT_ON_POLICY
    in_slices = distribution == "binomial"
    return Assignment(True, demonstrations[index], ratio, key, answer, index, is_whole, in_slices)


@dataclass(frozen=True)
class Hint:
    """A prefix that stands in the prompt.

    Attributes:
        ids (`list[int]`): tokens of the demonstration that it was made from.
        prompt (`str` or `list[dict]`): the prompt with the hint, which the rollout is sampled from.
        plain_prompt_ids (`list[int]`): token ids of the prompt without it.
    """

    ids: list[int]
    prompt: Any
    plain_prompt_ids: list[int]


@dataclass(frozen=True)
class Prefix:
    """What a rollout gets of a demonstration.

    Attributes:
        ids (`list[int]`): token ids that its completion starts with, or that its turns have of a trajectory; none in
            an on-policy rollout.
        states_answer (`float`): 1 if it reaches into the demonstration's last statement of its answer, 0 if not, NaN
            where that cannot be determined.
        share (`float`): of the demonstration's tokens, budget and excluded answer included; NaN without a prefix.
        demonstration_length (`float`): tokens of the whole demonstration; NaN without a prefix.
        hint (`Hint`, *optional*): what its prompt has instead of `ids`.
        is_complete (`bool`): whether nothing is sampled after them, or after the first turn of a trajectory.
        pieces (`tuple[TurnPiece]`): of the turns of a trajectory.
        spans (`tuple[tuple[int, int]]`): where those that were served stand in the completion, from and up to.
    """

    ids: list[int]
    states_answer: float = math.nan
    share: float = math.nan
    demonstration_length: float = math.nan
    hint: Hint | None = None
    is_complete: bool = False
    pieces: tuple[TurnPiece, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def first_ids(self) -> list[int]:
        """Tokens that its completion starts with."""
        return self.pieces[0].ids if self.pieces else self.ids

    @property
    def token_spans(self) -> tuple[tuple[int, int], ...]:
        """Where its tokens stand in the completion, from and up to."""
        return self.spans if self.pieces else ((0, len(self.ids)),)

    def served(self, length: int) -> "Prefix":
        """Itself with the tokens that a completion of so many has of it; a trajectory may end or be cut before."""
        if not self.pieces:
            return self
        spans = tuple((start, min(stop, length)) for start, stop in self.spans if start < length)
        pairs = zip(self.pieces, spans, strict=False)
        ids = [token for piece, (start, stop) in pairs for token in piece.ids[: stop - start]]
        states_answer = math.nan if self.states_answer and len(ids) < len(self.ids) else self.states_answer
        share = len(ids) / self.demonstration_length
        return replace(self, spans=spans, ids=ids, share=share, states_answer=states_answer)

    @property
    def served_results(self) -> list[str]:
        """What tools have answered in the demonstration to the calls of turns that are served whole."""
        return [text for piece in self.pieces if piece.is_complete for text in piece.results]

    def last_turn_ids(self, completion: Any) -> list[int]:
        """Its tokens in the last turn of a completion, text or messages."""
        if not self.pieces:
            return self.ids
        turns = sum(message["role"] == "assistant" for message in completion)
        start, stop = self.spans[-1]
        return self.pieces[len(self.spans) - 1].ids[: stop - start] if turns == len(self.spans) else []

    @property
    def given_ids(self) -> list[int]:
        """Tokens of the demonstration, at the start of the completion or in the prompt."""
        return self.hint.ids if self.hint else self.ids


NO_PREFIX = Prefix([])


def prefix_length(ratio: float, demonstration_length: int, max_completion_length: int) -> int:
    """L = floor(l * |y*|), with 1 <= L <= |y*| - 1, in tokens (paper, section on prefix sampling).

    A demonstration longer than the completion budget is truncated to it first, so that prefix and continuation fit
    together and at least one token is sampled. A demonstration of fewer than two tokens has no prefix (length 0).
    """
    available = min(demonstration_length, max_completion_length)
    if available < 2:
        return 0
    return min(max(math.floor(ratio * available), 1), available - 1)


def slices_length(
    probability: float, ids: list[int], max_completion_length: int, decode: Decode, key: tuple[int, int, int]
) -> int:
    """Tokens of a demonstration's first slices of sentences (UFT); at least one token is left to sample.

    Args:
        probability (`float`): of each slice; with 1 all are drawn.
        ids (`list[int]`): of the demonstration.
        max_completion_length (`int`): tokens of prefix and continuation together.
        decode (`Callable`): from ids to text.
        key (`tuple[int, int, int]`): of the rollout's [`Assignment`].
    """
    ends = sentence_ends(decode(ids))
    given = draw_binomial(np.random.default_rng([*key, 2]), len(ends), probability)
    length = tokens_within(ids, slice_end(ends, given), decode)
    return min(length, len(ids) - 1, max_completion_length - 1)


def sentence_ends(text: str) -> list[int]:
    """Indices of the characters at which a text's sentences end, at least one.

    A sentence ends with `.`, `!` or `?` before white space, with a semicolon, or with its line.
    """
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


def slice_end(sentences: list[int], given: int) -> int:
    """Index of the character at which a text's first slices end (UFT).

    A text has at most five slices, with about the same number of sentences.

    Args:
        sentences (`list[int]`): where they end, from [`sentence_ends`].
        given (`int`): number of slices.
    """
    number = min(MAX_SLICES, len(sentences))
    return sentences[round(given * len(sentences) / number) - 1] if given else 0


def tokens_within(ids: list[int], characters: int, decode: Decode) -> int:
    """Number of leading ids whose text has at most `characters` characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(decode(ids[:middle])) <= characters else (low, middle - 1)
    return low


def exclude_answer(ids: list[int], answer_start: int, decode: Decode) -> list[int]:
    """The prefix up to the character at which the demonstration starts to state its answer."""
    return ids[: tokens_within(ids, answer_start, decode)]


def token_noise(assignments: list[Assignment], lengths: torch.Tensor, width: int) -> torch.Tensor:
    """U[0, 1) noise for each prefix token, 0 elsewhere, for the random selection of prefix tokens.

    Args:
        assignments (`list[Assignment]`): of the rollouts.
        lengths (`torch.Tensor`): prefix lengths in tokens, shape (rollouts,).
        width (`int`): tokens of a row of the result.

    Returns:
        `torch.Tensor`: float32, shape (rollouts, width), on the device of `lengths`.
    """
    noise = np.zeros((len(lengths), width), dtype=np.float32)
    for row, (assignment, length) in enumerate(zip(assignments, lengths.tolist(), strict=True)):
        rng = np.random.default_rng([*assignment.key, 1])  # `key` alone, and with 2, seeds the draw of the prefix
        noise[row, :length] = rng.random(length, dtype=np.float32)
    return torch.from_numpy(noise).to(lengths.device)


def spread_over_spans(
    values: torch.Tensor, lengths: torch.Tensor, spans: Sequence[Sequence[tuple[int, int]]]
) -> torch.Tensor:
    """Values of the first tokens of each row, moved to where the row's spans stand.

    Args:
        values (`torch.Tensor`): shape (rows, width).
        lengths (`torch.Tensor`): tokens of the spans of each row, shape (rows,).
        spans (`Sequence[Sequence[tuple[int, int]]]`): of each row, from and up to.
    """
    spread = torch.zeros_like(values)
    for row, (of_row, length) in enumerate(zip(spans, lengths.tolist(), strict=True)):
        places = [torch.arange(start, stop, device=values.device) for start, stop in of_row]
        if length:
            spread[row, torch.cat(places)] = values[row, :length]
    return spread
