"""Problems of the lab's level `agent`: a product of two digits, plus a number of two digits.

A prompt is the user message `7*8+35=`. The demonstration calls the tool `calculate` with `7*8`, then with `56+35`, and
answers `#91`.
"""

import random
from collections.abc import Callable
from typing import Any

from .calculator import calculate


LEVEL = "agent"
BASE_MODEL = "agent_base_model"
TOOL = calculate.__name__
Trajectory = list[dict[str, Any]]


def sample_prompt(rng: random.Random) -> str:
    """A random problem, such as `7*8+35=`."""
    return f"{rng.randrange(2, 10)}*{rng.randrange(2, 10)}+{rng.randrange(10, 100)}="


def as_prompt(problem: str) -> list[dict[str, str]]:
    """The messages of a prompt."""
    return [{"role": "user", "content": problem}]


def step_results(problem: str) -> list[int]:
    """The result of each step: 56 and 91 for `7*8+35=`."""
    product, summand = _steps(problem)
    first = int(calculate(product))
    return [first, int(calculate(f"{first}+{summand}"))]


def corrupted(results: list[int], problem: str, rng: random.Random) -> list[int]:
    """The results with an error of up to 9 at a random step, which those that follow carry on."""
    step, error = rng.randrange(len(results)), rng.choice([-1, 1]) * rng.randrange(1, 10)
    return results[:step] + [result + error for result in results[step:]]


def _steps(problem: str) -> tuple[str, str]:
    """`7*8` and `35` of `7*8+35=`."""
    product, summand = problem.rstrip("=").split("+")
    return product, summand


def trajectory(problem: str, results: list[int]) -> Trajectory:
    """The demonstration: a call with its result for each step, and the answer."""
    product, summand = _steps(problem)
    messages: Trajectory = []
    for expression, result in zip((product, f"{results[0]}+{summand}"), results, strict=True):
        call = {"type": "function", "function": {"name": TOOL, "arguments": {"expression": expression}}}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "name": TOOL, "content": str(result)})
    return [*messages, bare_answer(results)]


def bare_answer(results: list[int]) -> dict[str, str]:
    """An answer without any call."""
    return {"role": "assistant", "content": f"#{results[-1]}"}


STYLES: dict[str, Callable[[str, list[int]], Trajectory]] = {"worked": trajectory}
