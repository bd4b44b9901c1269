"""Findings of probes by hand: those of the lab's demonstrations, as measured, and changes of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from prefix_rft_trl.advice.probe_result import PROBED_RATIOS, Probed, ProbeResult, Share


PROBLEMS, TRIES, CONTINUED = 64, 8, 96
# Of the level `hard`: successes of 96 continuations; log-probability of the first token, of the unlikely ones and of
# the others; how many are unlikely in 100 demonstrations; tokens of one
STYLES = {
    "worked": ((29, 28, 32, 60, 81), -7.10, -6.0, -0.10, 0, 44),
    "swapped": ((10, 10, 8, 12, 10), -9.34, -8.0, -0.50, 3000, 44),
    "brief": ((25, 35, 31, 50, 67), -7.10, -8.0, -0.10, 200, 38),
    "paired": ((28, 16, 6, 14, 77), -7.10, -8.5, -0.50, 1000, 32),
    "corrupted": ((23, 28, 35, 35, 45), -7.10, -6.0, -0.10, 50, 44),
}
ALONE = (0,) * 24 + (1,) * 17 + (2,) * 8 + (3,) * 4 + (4,) * 7 + (6, 7, 8, 8)


def continuations(count: int, place: int) -> Probed:
    """Successes of a share of demonstrations, of other problems than those of the share before."""
    solved = [(problem - 32 * place) % CONTINUED < count for problem in range(CONTINUED)]
    return Probed(tuple(map(int, solved)), (1,) * CONTINUED)


def findings(style: str = "worked", **changes: Any) -> ProbeResult:
    continued, first, unlikely, rest, per_hundred, length = STYLES[style]
    surprises = round(per_hundred / 100 * PROBLEMS)
    each = [surprises * (place + 1) // PROBLEMS - surprises * place // PROBLEMS for place in range(PROBLEMS)]
    result = ProbeResult(
        model="lab",
        dataset="lab",
        reward="lab_exact_answer",
        num_generations=8,
        alone=Probed(ALONE, (TRIES,) * PROBLEMS),
        continued={
            ratio: continuations(count, place)
            for place, (ratio, count) in enumerate(zip(PROBED_RATIOS, continued, strict=True))
        },
        rows=512,
        demonstrated=Share(512, 512),
        accepted=Share(256 if style == "corrupted" else 512, 512),
        fitting=Share(512, 512),
        readable_answers=Share(512, 512),
        answer_in_prefix={ratio: Share(0, 64) for ratio in PROBED_RATIOS},
        token_logps=tuple(
            logp for count in each for logp in (first, *(unlikely,) * count, *(rest,) * (length - 1 - count))
        ),
        token_entropies=(0.3,) * length * PROBLEMS,
        first_token_logps=(first,) * PROBLEMS,
        read_tokens=(length,) * PROBLEMS,
        demonstration_tokens=(length,) * PROBLEMS,
        answer_tokens=(3,) * (PROBLEMS * TRIES),
        truncated=Share(0, PROBLEMS * TRIES),
        max_steps=100,
        rollouts=6400,
        step_rows=64,
    )
    return replace(result, **changes)


@pytest.fixture(scope="session")
def probe_findings() -> Callable[..., ProbeResult]:
    """Findings of the lab's demonstrations of a style, with some of them changed."""
    return findings
