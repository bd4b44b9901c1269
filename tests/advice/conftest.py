"""Findings of probes by hand: those of the lab's demonstrations, as measured, and changes of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from prefix_rft_trl.advice.probe_result import PROBED_RATIOS, Probed, ProbeResult, Share


PROBLEMS, TRIES, CONTINUED = 64, 8, 128
# Of the level `hard`: successes of 128 continuations, mean log-probability of the first and the other tokens, length
STYLES = {
    "worked": ((31, 40, 55, 72, 115), -7.10, -0.10, 44),
    "swapped": ((13, 13, 11, 16, 13), -9.34, -5.87, 44),
    "brief": ((37, 39, 51, 62, 29), -7.10, -0.51, 38),
    "paired": ((37, 21, 8, 19, 102), -7.10, -2.86, 32),
    "corrupted": ((31, 38, 47, 47, 60), -7.10, -0.20, 44),
}
ALONE = (0,) * 24 + (1,) * 17 + (2,) * 8 + (3,) * 4 + (4,) * 7 + (6, 7, 8, 8)


def findings(style: str = "worked", **changes: Any) -> ProbeResult:
    continued, first, rest, length = STYLES[style]
    result = ProbeResult(
        model="lab",
        dataset="lab",
        reward="lab_exact_answer",
        num_generations=8,
        alone=Probed(ALONE, (TRIES,) * PROBLEMS),
        continued={
            ratio: Probed((1,) * count + (0,) * (CONTINUED - count), (1,) * CONTINUED)
            for ratio, count in zip(PROBED_RATIOS, continued, strict=True)
        },
        rows=512,
        demonstrated=Share(512, 512),
        accepted=Share(256 if style == "corrupted" else 512, 512),
        fitting=Share(512, 512),
        readable_answers=Share(512, 512),
        answer_in_prefix={ratio: Share(0, 64) for ratio in PROBED_RATIOS},
        token_logps=(first, *(rest,) * (length - 1)) * PROBLEMS,
        token_entropies=(0.3,) * length * PROBLEMS,
        first_token_logps=(first,) * PROBLEMS,
        demonstration_tokens=(length,) * PROBLEMS,
        answer_tokens=(3,) * (PROBLEMS * TRIES),
        truncated=Share(0, PROBLEMS * TRIES),
        max_steps=100,
        rollouts=6400,
    )
    return replace(result, **changes)


@pytest.fixture(scope="session")
def probe_findings() -> Callable[..., ProbeResult]:
    """Findings of the lab's demonstrations of a style, with some of them changed."""
    return findings
