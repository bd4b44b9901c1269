"""What tells right answers from wrong ones: the reward of the run that has made a model, where it can."""

import json
from functools import cache
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS
from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.rewards import load_reward
from prefix_rft_trl.run.settings import RunSettings

from .asking import Asking
from .problems import LAB


if TYPE_CHECKING:
    from datasets import Dataset

MATHEMATICS, OF_GYM, OF_LAB = "math_accuracy_reward", "reasoning_gym_score", "lab_exact_answer"
COLUMNS_OF_REWARDS = {OF_GYM: "entry"}  # of those whose signature does not say


def find_verifier(
    name: str, title: str, rows: "Dataset", asking: Asking, run: RunSettings
) -> tuple[Any, dict[str, Any] | None]:
    """
    The reward of a benchmark, and what it is made with.

    That of the command line. Else the run's, unless it is made for another task: the lab and reasoning-gym have their
    own, and the mathematics benchmarks Math-Verify.

    Raises:
        ValueError: if it reads a column that is not there.
    """
    chosen, arguments = _choose(name, asking, run)
    reward = _loaded(chosen, json.dumps(arguments))
    needed = getattr(reward, "solution_column", COLUMNS_OF_REWARDS.get(chosen)) or _required(reward)
    missing = [
        column for column in ([needed] if isinstance(needed, str) else needed) if column not in rows.column_names
    ]
    if missing:
        raise ValueError(
            f"The reward {chosen!r} reads the column {', '.join(missing)}, which {title} has not; its columns are: "
            f"{', '.join(rows.column_names)}. Take another: --reward {MATHEMATICS}."
        )
    return reward, arguments


def _choose(name: str, asking: Asking, run: RunSettings) -> tuple[str, dict[str, Any] | None]:
    of_run = run.reward or MATHEMATICS
    if asking.reward:
        return asking.reward, asking.reward_kwargs
    if name == LAB:
        of_benchmark = of_run if of_run.startswith("lab_") else OF_LAB
    elif name.startswith(NAME_PREFIX):
        of_benchmark = OF_GYM
    elif name in BENCHMARKS or of_run.startswith("lab_") or of_run == OF_GYM:
        of_benchmark = MATHEMATICS
    else:
        of_benchmark = of_run
    given = asking.reward_kwargs
    return of_benchmark, run.reward_kwargs if given is None and of_benchmark == run.reward else given


@cache
def _loaded(name: str, arguments: str) -> Any:
    """The same one for all benchmarks and models: `math_accuracy_reward` has worker processes of its own."""
    return load_reward(name, json.loads(arguments))


def _required(reward: Any) -> list[str]:
    """Names of the columns that a reward function does not do without."""
    given, kinds = (
        ("prompts", "completions", "completion_ids"),
        (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY),
    )
    return [
        name
        for name, parameter in signature(reward).parameters.items()
        if parameter.kind in kinds and parameter.default is Parameter.empty and name not in given
    ]
