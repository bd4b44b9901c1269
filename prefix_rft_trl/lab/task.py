"""Chained arithmetic on single digits, evaluated left to right modulo 10.

A prompt is `3+4*2-5=`. A worked solution, the demonstration, is `3+4=7;7*2=4;4-5=9;#9`; a bare answer is `#9`. The
base model (see `pretrain.py`) answers bare and is right about one time in five, although it can work step by step.
"""

import random
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import Dataset

OPERANDS = 6
MAX_COMPLETION_LENGTH = 56
STEPS = 120
MEASURE_EVERY = 10
ANSWER_MARK = "#"
SPLITS = {"train": 512, "test": 512}
_SPLIT_SEEDS = {"train": 20250702, "test": 20250703}
_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def base_model_path() -> str:
    """Folder of the base model and its character tokenizer, as `from_pretrained` takes it."""
    return str(Path(__file__).parent / "base_model")


def sample_prompt(rng: random.Random, operands: int = OPERANDS) -> str:
    """A random problem, such as `3+4*2-5=` for four operands."""
    digits = [str(rng.randrange(10)) for _ in range(operands)]
    return digits[0] + "".join(rng.choice("+-*") + digit for digit in digits[1:]) + "="


def worked_solution(prompt: str) -> str:
    """The steps and the answer: `3+4*2-5=` gives `3+4=7;7*2=4;4-5=9;#9`."""
    result, steps = int(prompt[0]), []
    for operator, digit in zip(prompt[1:-1:2], prompt[2:-1:2], strict=True):
        value = _OPERATIONS[operator](result, int(digit)) % 10
        steps.append(f"{result}{operator}{digit}={value};")
        result = value
    return "".join(steps) + ANSWER_MARK + str(result)


def answer(prompt: str) -> str:
    """The answer alone: `3+4*2-5=` gives `9`."""
    return worked_solution(prompt)[-1]


def load_dataset(split: str = "train", size: int | None = None) -> "Dataset":
    """The problems of a split with their worked solutions.

    Args:
        split (`str`, *optional*, defaults to `"train"`):
            `"train"` or `"test"`; no problem is in both.
        size (`int`, *optional*):
            Number of problems. Defaults to 512; the first problems of a larger split are those of a smaller one.

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `completion` (the demonstration) and `solution` (the answer).
    """
    from datasets import Dataset

    if split not in SPLITS:
        raise ValueError(f"Unknown lab split {split!r}. Known splits: {', '.join(SPLITS)}.")
    taken = set() if split == "train" else set(load_dataset("train")["prompt"])
    prompts: list[str] = []
    rng = random.Random(_SPLIT_SEEDS[split])
    while len(prompts) < (SPLITS[split] if size is None else size):
        prompt = sample_prompt(rng)
        if prompt not in taken:
            taken.add(prompt)
            prompts.append(prompt)
    return Dataset.from_dict(
        {
            "prompt": prompts,
            "completion": [worked_solution(prompt) for prompt in prompts],
            "solution": [answer(prompt) for prompt in prompts],
        }
    )


def exact_answer_reward(completions: list[str], solution: list[str], **kwargs) -> list[float]:
    """1 for a completion that gives the right answer after exactly one `#`, 0 otherwise."""
    return [
        float(completion.count(ANSWER_MARK) == 1 and completion.partition(ANSWER_MARK)[2].strip() == right)
        for completion, right in zip(completions, solution, strict=True)
    ]
