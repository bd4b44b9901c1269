"""Chained arithmetic on single digits, evaluated left to right modulo 10.

A prompt is `3+4*2-5=`. Its demonstration is the worked solution `3+4=7;7*2=4;4-5=9;#9`; a bare answer is `#9`. The
base model (see `pretrain.py`) gives bare answers and is right about one time in five, although it can work step by
step.

On the level `hard` the problems are longer and the base model calculates badly, so that working step by step is not
all there is to learn. The levels `hard_third` and `hard_half` are the same problems for base models that calculate
well and are right about one time in three and in two. Demonstrations can be corrupted, left out, or of another style.
The level `sums` has problems for a real model (`real/`); those of the level `agent` are solved by calling a tool
(`agent/`).
"""

import random
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .agent import products
from .real import smollm2, sums


if TYPE_CHECKING:
    from datasets import Dataset


Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Level:
    """Number of operands of a problem, and the base model."""

    operands: int
    base_model: str


LEVELS = {
    "easy": Level(operands=6, base_model="base_model"),
    "hard": Level(operands=8, base_model="hard_base_model"),
    "hard_third": Level(operands=8, base_model="hard_third_base_model"),
    "hard_half": Level(operands=8, base_model="hard_half_base_model"),
}
LEVEL_NAMES = (*LEVELS, sums.LEVEL, products.LEVEL)
ANSWER_MARK = "#"
STEP_END = ";"
SPLIT_SIZE = 512
_SPLIT_SEEDS = {"train": 20250702, "test": 20250703, "demonstrations": 20250704}
_PROBLEM = re.compile(r"^[0-9](?:[-+*][0-9])+=$", re.MULTILINE)
_OPERATIONS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def base_model_path(level: str = "easy") -> str:
    """Folder of a level's base model (a name in `LEVEL_NAMES`) with its tokenizer, for `from_pretrained`.

    Raises:
        ValueError: for an unknown level.
        UserError: if the real model of the level `sums` is not installed.
    """
    if level == sums.LEVEL:
        return smollm2.model_folder()
    name = products.BASE_MODEL if level == products.LEVEL else _choose("level", level, LEVELS).base_model
    return str(Path(__file__).parent / name)


def _choose(kind: str, name: str, choices: Mapping[str, Choice]) -> Choice:
    if name not in choices:
        raise ValueError(f"Unknown lab {kind} {name!r}. Choose one of: {', '.join(choices)}.")
    return choices[name]


def sample_prompt(rng: random.Random, operands: int = LEVELS["easy"].operands) -> str:
    """A random problem: with four operands, such as `3+4*2-5=`."""
    digits = [str(rng.randrange(10)) for _ in range(operands)]
    return digits[0] + "".join(rng.choice("+-*") + digit for digit in digits[1:]) + "="


def step_results(prompt: str) -> list[int]:
    """The result of each step: 7, 4 and 9 for `3+4*2-5=`."""
    results = [int(prompt[0])]
    for operator, digit in zip(prompt[1:-1:2], prompt[2:-1:2], strict=True):
        results.append(_OPERATIONS[operator](results[-1], int(digit)) % 10)
    return results[1:]


def worked_solution(prompt: str) -> str:
    """The steps and the answer: `3+4=7;7*2=4;4-5=9;#9` for `3+4*2-5=`."""
    return _worked(prompt, step_results(prompt))


def _worked(prompt: str, results: list[int]) -> str:
    before = [int(prompt[0]), *results]
    steps = zip(before, prompt[1:-1:2], prompt[2:-1:2], results, strict=False)
    written = (f"{left}{operator}{digit}={result}{STEP_END}" for left, operator, digit, result in steps)
    return "".join(written) + ANSWER_MARK + str(results[-1])


def _brief(prompt: str, results: list[int]) -> str:
    *steps, _, final = _worked(prompt, results).split(STEP_END)
    return STEP_END.join([*steps, final])


def _swapped(prompt: str, results: list[int]) -> str:
    *steps, final = _worked(prompt, results).split(STEP_END)
    return STEP_END.join(["=".join(reversed(step.split("="))) for step in steps] + [final])


def _paired(prompt: str, results: list[int]) -> str:
    left, written = prompt[0], ""
    for step in range(0, len(results), 2):
        last = min(step + 1, len(results) - 1)
        written += f"{left}{prompt[2 * step + 1 : 2 * last + 3]}={results[last]}{STEP_END}"
        left = str(results[last])
    return f"{written}{ANSWER_MARK}{results[-1]}"


STYLES = {"worked": _worked, "brief": _brief, "swapped": _swapped, "paired": _paired}


def corrupted(results: list[int], prompt: str, rng: random.Random) -> list[int]:
    """The results with an error at a random step and its consequences, so that the answer is mostly wrong too."""
    step = rng.randrange(len(results))
    wrong = (results[step] + rng.randrange(1, 10)) % 10
    rest = f"{wrong}{prompt[2 * step + 3 :]}"
    return [*results[:step], wrong, *step_results(rest)]


@dataclass(frozen=True)
class ProblemKind:
    """Results of its problems step by step, the same with an error, and the demonstrations made of them, by style.

    Attributes:
        as_prompt (`Callable`): makes a prompt of a problem.
        no_demonstration: in place of a demonstration that is left out.
    """

    step_results: Callable[[str], list[int]]
    corrupted: Callable[[list[int], str, random.Random], list[int]]
    styles: Mapping[str, Callable[[str, list[int]], Any]]
    as_prompt: Callable[[str], Any] = str
    no_demonstration: str | list[Any] = ""


CHAINS = ProblemKind(step_results, corrupted, STYLES)
SUMS = ProblemKind(sums.step_results, sums.corrupted, sums.STYLES)
PRODUCTS = ProblemKind(products.step_results, products.corrupted, products.STYLES, products.as_prompt, [])


def answer(prompt: str) -> str:
    """The answer alone: `9` for `3+4*2-5=`."""
    return str(step_results(prompt)[-1])


def load_dataset(
    split: str = "train",
    size: int | None = None,
    level: str = "easy",
    style: str = "worked",
    corrupted_share: float = 0.0,
    demonstrated_share: float = 1.0,
    seed: int = 0,
    damaged_share: float | None = None,
) -> "Dataset":
    """The problems of a split with their demonstrations.

    Args:
        split (`str`, *optional*, defaults to `"train"`): `"train"`, `"test"`, or `"demonstrations"`, a second dataset;
            no problem is in two of them.
        size (`int`, *optional*): number of problems; defaults to 512. A smaller split is the start of a larger one.
        level (`str`, *optional*, defaults to `"easy"`): `"easy"`, six digits, or `"hard"`, `"hard_third"` or
            `"hard_half"`, the same problems of eight. `"sums"` has sums in words for a real model
            (`lab.real.sums`), in the styles `"worked"` and `"brief"`. `"agent"` has products to calculate with a
            tool (`lab.agent.products`): prompts and demonstrations are messages, in the style `"worked"`.
        style (`str`, *optional*, defaults to `"worked"`): `"worked"` demonstrations have each step as the base model
            can write it, `3+4=7;7*2=4;4-5=9;#9`. `"swapped"` ones write the result first, `7=3+4;4=7*2;9=4-5;#9`.
            `"brief"` ones, in the style of another policy, leave the last step out, `3+4=7;7*2=4;#9`. `"paired"` ones
            take an ability that the base models lack, two operations in a step, `3+4*2=4;4-5=9;#9`.
        corrupted_share (`float`, *optional*, defaults to 0.0): share of the demonstrations with a wrong step, which
            mostly leads to a wrong answer.
        demonstrated_share (`float`, *optional*, defaults to 1.0): share of the problems that have a demonstration; the
            others have an empty one.
        seed (`int`, *optional*, defaults to 0): decides which demonstrations are corrupted or missing. A larger share
            includes those of a smaller one.
        damaged_share (`float`, *optional*): old name of `corrupted_share`.

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `completion` (the demonstration) and `solution` (the answer).

    Raises:
        ValueError: for an unknown split, level or style, or a share that is not between 0 and 1.
    """
    from datasets import Dataset

    if damaged_share is not None:
        warnings.warn("`damaged_share` is now called `corrupted_share`.", FutureWarning, stacklevel=2)
        corrupted_share = damaged_share
    _choose("style", style, STYLES)
    problems = {sums.LEVEL: SUMS, products.LEVEL: PRODUCTS}.get(level, CHAINS)
    if style not in problems.styles:
        raise ValueError(f"The lab's level {level!r} has no style {style!r}. It has: {', '.join(problems.styles)}.")
    for name, share in (("corrupted_share", corrupted_share), ("demonstrated_share", demonstrated_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"The lab's `{name}` must be between 0 and 1, found {share}.")
    prompts = _prompts(split, size, level)
    # Drawn by the old name of the setting, so that the rows stay the same
    is_corrupted = _random_rows(len(prompts), corrupted_share, f"damaged {seed}")
    has_demonstration = _random_rows(len(prompts), demonstrated_share, f"demonstrated {seed}")
    demonstrations = []
    for row, prompt in enumerate(prompts):
        results = problems.step_results(prompt)
        if row in is_corrupted:
            results = problems.corrupted(results, prompt, random.Random(f"{seed} {prompt}"))
        is_shown = row in has_demonstration
        demonstrations.append(problems.styles[style](prompt, results) if is_shown else problems.no_demonstration)
    solutions = [str(problems.step_results(prompt)[-1]) for prompt in prompts]
    columns = {"prompt": list(map(problems.as_prompt, prompts)), "completion": demonstrations, "solution": solutions}
    return Dataset.from_dict(columns)


@cache
def _prompts(split: str, size: int | None, level: str) -> tuple[str, ...]:
    earlier = [*_SPLIT_SEEDS][: [*_SPLIT_SEEDS].index(split)] if split in _SPLIT_SEEDS else []
    taken = {prompt for name in earlier for prompt in _prompts(name, None, level)}
    prompts: list[str] = []
    rng = random.Random(_choose("split", split, _SPLIT_SEEDS))
    if level in (sums.LEVEL, products.LEVEL):
        draw = sums.sample_prompt if level == sums.LEVEL else products.sample_prompt
    else:
        draw = partial(sample_prompt, operands=_choose("level", level, LEVELS).operands)
    while len(prompts) < (SPLIT_SIZE if size is None else size):
        prompt = draw(rng)
        if prompt not in taken:
            taken.add(prompt)
            prompts.append(prompt)
    return tuple(prompts)


def _random_rows(number: int, share: float, seed: str) -> set[int]:
    # Shuffled and cut, so that a larger share includes a smaller one
    return set(random.Random(seed).sample(range(number), number)[: round(share * number)])


def exact_answer_reward(completions: list[Any], solution: list[str], **kwargs) -> list[float]:
    """1 for a completion with the right answer after exactly one `#`, 0 for any other.

    Of a completion of several messages the last one has the answer.
    """
    texts = [done if isinstance(done, str) else done[-1]["content"] for done in completions]
    return [
        float(text.count(ANSWER_MARK) == 1 and text.partition(ANSWER_MARK)[2].strip() == right)
        for text, right in zip(texts, solution, strict=True)
    ]


exact_answer_reward.answer_markers = (ANSWER_MARK,)  # type: ignore[attr-defined]


def worked_answer_reward(completions: list[str], prompts: list[str], **kwargs) -> list[float]:
    """1 for a completion that is the complete worked solution, 0 for any other: guessing the answer earns nothing.

    Raises:
        ValueError: for a prompt without a problem of the lab on a line of its own.
    """
    return [
        float(done == worked_solution(problem_in(prompt))) for done, prompt in zip(completions, prompts, strict=True)
    ]


def problem_in(prompt: str) -> str:
    """The problem in a prompt that may have an instruction too."""
    found = _PROBLEM.search(prompt) if isinstance(prompt, str) else None
    if found is None:
        raise ValueError(
            f"The reward lab_worked_answer reads a problem of the lab, such as 3+4*2-5=, on a line of its own in a "
            f"prompt of plain text, found {prompt!r:.80}. Take another reward for it, such as lab_exact_answer."
        )
    return found.group()


worked_answer_reward.answer_markers = (ANSWER_MARK,)  # type: ignore[attr-defined]
worked_answer_reward.check_row = lambda row: problem_in(row["prompt"])  # type: ignore[attr-defined]


def shown_work_reward(completions: list[str], solution: list[str], **kwargs) -> list[float]:
    """1 for a right answer after at least one step, 0 for any other: a bare answer, guessed, earns nothing."""
    rewards = zip(exact_answer_reward(completions, solution), step_by_step_reward(completions), strict=True)
    return [right * shown for right, shown in rewards]


shown_work_reward.answer_markers = (ANSWER_MARK,)  # type: ignore[attr-defined]


def step_by_step_reward(completions: list[str], **kwargs) -> list[float]:
    """1 for a completion that writes at least one step down, right or wrong; 0 for a bare answer."""
    return [float(STEP_END in completion) for completion in completions]
