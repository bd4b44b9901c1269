"""Sums of three two-digit numbers, the lab's level `sums`.

A prompt asks `What is 47 + 38 + 15?`, in the turns of SmolLM2's chat template, without its system prompt. The
demonstration is `47 + 38 = 85. 85 + 15 = 100. The answer is 100.`; a brief one keeps the first sum in the head.
"""

import random
import re
from collections.abc import Callable
from itertools import accumulate


LEVEL = "sums"
OPERANDS = 3
_PROMPT = "<|im_start|>user\nWhat is {}?<|im_end|>\n<|im_start|>assistant\n"
_NUMBER = re.compile(r"\d+")


def sample_prompt(rng: random.Random, operands: int = OPERANDS) -> str:
    """A random problem as a prompt."""
    return _PROMPT.format(" + ".join(str(rng.randrange(10, 100)) for _ in range(operands)))


def step_results(prompt: str) -> list[int]:
    """The sum after each step: 85 and 100 for 47 + 38 + 15."""
    return list(accumulate(_operands(prompt)))[1:]


def corrupted(results: list[int], prompt: str, rng: random.Random) -> list[int]:
    """The results with an error of up to 9 at a random step, which those that follow carry on."""
    step, error = rng.randrange(len(results)), rng.choice([-1, 1]) * rng.randrange(1, 10)
    return results[:step] + [result + error for result in results[step:]]


def _operands(prompt: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(prompt)]


def _worked(prompt: str, results: list[int]) -> str:
    first, *others = _operands(prompt)
    steps = zip([first, *results], others, results, strict=False)
    return "".join(f"{left} + {right} = {result}. " for left, right, result in steps) + _stated(results)


def _brief(prompt: str, results: list[int]) -> str:
    return f"{' + '.join(map(str, _operands(prompt)))} = {results[-1]}. {_stated(results)}"


def _stated(results: list[int]) -> str:
    return f"The answer is {results[-1]}."


STYLES: dict[str, Callable[[str, list[int]], str]] = {"worked": _worked, "brief": _brief}


def final_number(text: str) -> str | None:
    """The last number of a response, without zeros in front."""
    numbers = _NUMBER.findall(text)
    return (numbers[-1].lstrip("0") or "0") if numbers else None


def final_number_reward(completions: list[str], solution: list[str], **kwargs) -> list[float]:
    """1 for a completion whose last number is the answer, 0 for any other."""
    return [float(final_number(done) == right) for done, right in zip(completions, solution, strict=True)]


final_number_reward.final_answer = final_number  # type: ignore[attr-defined]
