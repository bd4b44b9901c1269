"""Chained arithmetic on single digits, evaluated left to right modulo 10.

A prompt is `3+4*2-5=`. A worked solution, the demonstration, is `3+4=7;7*2=4;4-5=9;#9`; a bare answer is `#9`. The
base model (see `pretrain.py`) answers bare and is right about one time in five, although it can work step by step.

At the level `hard` the problems are longer and the base model calculates badly, so that there is more to learn than
to work step by step. The demonstrations can be damaged, fewer, or of another style.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Level:
    """How long the problems are, and which base model meets them."""

    operands: int
    base_model: str


LEVELS = {"easy": Level(operands=6, base_model="base_model"), "hard": Level(operands=8, base_model="hard_base_model")}
MAX_COMPLETION_LENGTH = 56
STEPS = 120
MEASURE_EVERY = 10
ANSWER_MARK = "#"
SPLITS = {"train": 512, "test": 512}
_SPLIT_SEEDS = {"train": 20250702, "test": 20250703}
_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def base_model_path(level: str = "easy") -> str:
    """Folder of a level's base model and its character tokenizer, as `from_pretrained` takes it."""
    return str(Path(__file__).parent / _level(level).base_model)


def _level(name: str) -> Level:
    if name not in LEVELS:
        raise ValueError(f"Unknown lab level {name!r}. Known levels: {', '.join(LEVELS)}.")
    return LEVELS[name]


def sample_prompt(rng: random.Random, operands: int = LEVELS["easy"].operands) -> str:
    """A random problem, such as `3+4*2-5=` for four operands."""
    digits = [str(rng.randrange(10)) for _ in range(operands)]
    return digits[0] + "".join(rng.choice("+-*") + digit for digit in digits[1:]) + "="


def results_of_steps(prompt: str) -> list[int]:
    """`3+4*2-5=` gives 7, 4 and 9."""
    results = [int(prompt[0])]
    for operator, digit in zip(prompt[1:-1:2], prompt[2:-1:2], strict=True):
        results.append(_OPERATIONS[operator](results[-1], int(digit)) % 10)
    return results[1:]


def worked_solution(prompt: str) -> str:
    """The steps and the answer: `3+4*2-5=` gives `3+4=7;7*2=4;4-5=9;#9`."""
    return _worked(prompt, results_of_steps(prompt))


def _worked(prompt: str, results: list[int]) -> str:
    before = [int(prompt[0]), *results]
    steps = zip(before, prompt[1:-1:2], prompt[2:-1:2], results, strict=False)
    return "".join(f"{left}{operator}{digit}={result};" for left, operator, digit, result in steps) + _final(results)


def _brief(prompt: str, results: list[int]) -> str:
    steps = _worked(prompt, results).split(";")
    return "".join(f"{step};" for step in steps[:-2]) + steps[-1]


def _final(results: list[int]) -> str:
    return f"{ANSWER_MARK}{results[-1]}"


STYLES = {"worked": _worked, "brief": _brief}


def damaged(results: list[int], prompt: str, rng: random.Random) -> list[int]:
    """The results with a wrong one at some step, and what follows from it, so that the answer is mostly wrong too."""
    step = rng.randrange(len(results))
    wrong = (results[step] + rng.randrange(1, 10)) % 10
    rest = f"{wrong}{prompt[2 * step + 3 :]}"
    return [*results[:step], wrong, *results_of_steps(rest)]


def answer(prompt: str) -> str:
    """The answer alone: `3+4*2-5=` gives `9`."""
    return str(results_of_steps(prompt)[-1])


def load_dataset(
    split: str = "train",
    size: int | None = None,
    level: str = "easy",
    style: str = "worked",
    damaged_share: float = 0.0,
    demonstrated_share: float = 1.0,
    seed: int = 0,
) -> "Dataset":
    """The problems of a split with their demonstrations.

    Args:
        split (`str`, *optional*, defaults to `"train"`):
            `"train"` or `"test"`; no problem is in both.
        size (`int`, *optional*):
            Number of problems. Defaults to 512; the first problems of a larger split are those of a smaller one.
        level (`str`, *optional*, defaults to `"easy"`):
            `"easy"`, six digits, or `"hard"`, eight.
        style (`str`, *optional*, defaults to `"worked"`):
            Way of working: `"worked"` writes each step as the base model can, `3+4=7;7*2=4;4-5=9;#9`; `"brief"`, that
            of another policy, leaves the last step out, `3+4=7;7*2=4;#9`.
        damaged_share (`float`, *optional*, defaults to 0.0):
            Share of the demonstrations with a wrong step, from which they go on to a wrong answer.
        demonstrated_share (`float`, *optional*, defaults to 1.0):
            Share of the problems that have a demonstration; the others have an empty one.
        seed (`int`, *optional*, defaults to 0):
            What decides which are damaged or missing. Those of a smaller share are among those of a larger one.

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `completion` (the demonstration) and `solution` (the answer).
    """
    from datasets import Dataset

    if split not in SPLITS:
        raise ValueError(f"Unknown lab split {split!r}. Known splits: {', '.join(SPLITS)}.")
    if style not in STYLES:
        raise ValueError(f"Unknown lab style {style!r}. Known styles: {', '.join(STYLES)}.")
    for name, share in (("damaged_share", damaged_share), ("demonstrated_share", demonstrated_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"The lab's `{name}` is a share from 0 to 1, found {share}.")
    prompts = _prompts(split, size, level)
    has_damage = _first_of_shuffled(len(prompts), damaged_share, f"damaged {seed}")
    has_demonstration = _first_of_shuffled(len(prompts), demonstrated_share, f"demonstrated {seed}")
    demonstrations = []
    for row, prompt in enumerate(prompts):
        results = results_of_steps(prompt)
        if row in has_damage:
            results = damaged(results, prompt, random.Random(f"{seed} {prompt}"))
        demonstrations.append(STYLES[style](prompt, results) if row in has_demonstration else "")
    return Dataset.from_dict(
        {"prompt": prompts, "completion": demonstrations, "solution": [answer(prompt) for prompt in prompts]}
    )


def _prompts(split: str, size: int | None, level: str) -> list[str]:
    taken = set() if split == "train" else set(_prompts("train", None, level))
    prompts: list[str] = []
    rng = random.Random(_SPLIT_SEEDS[split])
    while len(prompts) < (SPLITS[split] if size is None else size):
        prompt = sample_prompt(rng, _level(level).operands)
        if prompt not in taken:
            taken.add(prompt)
            prompts.append(prompt)
    return prompts


def _first_of_shuffled(number: int, share: float, seed: str) -> set[int]:
    return set(random.Random(seed).sample(range(number), number)[: round(share * number)])


def exact_answer_reward(completions: list[str], solution: list[str], **kwargs) -> list[float]:
    """1 for a completion that gives the right answer after exactly one `#`, 0 otherwise."""
    return [
        float(completion.count(ANSWER_MARK) == 1 and completion.partition(ANSWER_MARK)[2].strip() == right)
        for completion, right in zip(completions, solution, strict=True)
    ]


exact_answer_reward.answer_markers = (ANSWER_MARK,)  # type: ignore[attr-defined]


def worked_answer_reward(completions: list[str], prompts: list[str], **kwargs) -> list[float]:
    """1 for a completion that works the whole problem out without a mistake, 0 for any other: no guess is right."""
    return [float(done == worked_solution(prompt)) for done, prompt in zip(completions, prompts, strict=True)]


worked_answer_reward.answer_markers = (ANSWER_MARK,)  # type: ignore[attr-defined]


def step_by_step_reward(completions: list[str], **kwargs) -> list[float]:
    """1 for a completion that writes at least one step down, right or wrong, 0 for a bare answer."""
    return [float(";" in completion) for completion in completions]
