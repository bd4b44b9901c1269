"""Reward functions by name, for recipes and the command line, and the dataset columns that each needs."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from prefix_rft_trl.utils.dotted_paths import import_path, is_dotted_path

from .answers import stated_answer


RewardFunction = Callable[..., list[float | None]]

REWARDS = {
    "math_accuracy_reward": "prefix_rft_trl.rewards.math_accuracy.MathAccuracyReward",
    "gsm8k_final_number": "prefix_rft_trl.rewards.math_accuracy.gsm8k_final_number",
    "lab_exact_answer": "prefix_rft_trl.lab.task.exact_answer_reward",
    "lab_worked_answer": "prefix_rft_trl.lab.task.worked_answer_reward",
    "lab_shown_work": "prefix_rft_trl.lab.task.shown_work_reward",
    "lab_step_by_step": "prefix_rft_trl.lab.task.step_by_step_reward",
    "lab_final_number": "prefix_rft_trl.lab.real.sums.final_number_reward",
    "reasoning_gym_score": "prefix_rft_trl.data.gym.scoring.ReasoningGymScore",
    "accuracy_reward": "trl.rewards.accuracy_reward",
    "reasoning_accuracy_reward": "trl.rewards.reasoning_accuracy_reward",
    "think_format_reward": "trl.rewards.think_format_reward",
    "get_cosine_scaled_reward": "trl.rewards.get_cosine_scaled_reward",
    "get_repetition_penalty_reward": "trl.rewards.get_repetition_penalty_reward",
    "get_soft_overlong_punishment": "trl.rewards.get_soft_overlong_punishment",
}

# Rewards that shape responses: an evaluation that asks whether answers are right takes another one
FORMAT_REWARDS = frozenset(
    {
        "lab_step_by_step",
        "think_format_reward",
        "get_cosine_scaled_reward",
        "get_repetition_penalty_reward",
        "get_soft_overlong_punishment",
    }
)

# Arguments of registered rewards that are taken from the folder of a model, which somebody else may have made
ARGUMENTS_OF_FOLDERS = ("answer_markers", "solution_column", "time_limit")

# Passed to every reward by `_calculate_rewards` of GRPOTrainer (trl/trainer/grpo_trainer.py)
TRL_ARGUMENTS = frozenset(
    {"prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments"}
)


class AcceptText:
    """Let a reward that reads messages, as those of TRL do, score completions that are text too."""

    def __init__(self, reward: RewardFunction):
        self.__wrapped__ = reward  # `inspect.signature` then shows its columns
        self.__name__ = reward.__name__

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        messages = [
            [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
            for completion in completions
        ]
        return self.__wrapped__(completions=messages, **columns)


def load_reward(name: str, arguments: dict[str, Any] | None = None) -> RewardFunction:
    """Load a reward function by its registered name, or by a dotted path such as `my_package.rewards.my_reward`.

    Modules are looked for among the installed packages, then in the folders of the recipes that were read, then in the
    current folder.

    Args:
        name (`str`): names a function, a class with callable instances, or a factory function `get_...`.
        arguments (`dict`, *optional*): arguments of the class or factory.

    Raises:
        ValueError: if there is no such reward (the message lists the registered names), or if the arguments do not
            fit it.
    """
    path = REWARDS.get(name, name)
    found = _import(path, name)
    if inspect.isclass(found) or path.rpartition(".")[2].startswith("get_"):
        reward = _make(found, name, arguments or {})
    elif arguments:
        raise ValueError(
            f"The reward {name!r} is a plain function and takes no arguments, found: {', '.join(arguments)}. Remove "
            "them from `reward_kwargs`."
        )
    else:
        reward = found
    return AcceptText(reward) if path.startswith("trl.") else reward


def required_columns(reward: RewardFunction) -> list[str]:
    """Dataset columns without which a reward cannot be called.

    These are its parameters without a default that TRL does not pass to every reward, the column in its attribute
    `solution_column`, and those in its attribute `required_columns`.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = [
        name
        for name, parameter in inspect.signature(reward).parameters.items()
        if parameter.kind in named and parameter.default is parameter.empty and name not in TRL_ARGUMENTS
    ]
    solution_column = getattr(reward, "solution_column", None)
    declared = getattr(reward, "required_columns", ())
    return list(dict.fromkeys([*parameters, *filter(None, [solution_column]), *declared]))


def name_of_reward(reward: Any) -> str:
    return getattr(reward, "__name__", type(reward).__name__)


def is_registered(reward: Any) -> bool:
    """Whether a reward is one of this package or TRL, and not the user's own."""
    return getattr(reward, "__module__", "").partition(".")[0] in ("prefix_rft_trl", "trl")


def answer_finder(reward: RewardFunction) -> Callable[[str], str | None] | None:
    """How the final answer that a reward judges is found in the text of a response; `None` if it does not say.

    It says so by an attribute `final_answer`, a function from the text to the answer or `None`, or by `answer_markers`
    if it reads boxes, tags and markers as [`~prefix_rft_trl.rewards.answers.find_final_answer`] does.
    """
    final_answer, markers = getattr(reward, "final_answer", None), getattr(reward, "answer_markers", None)
    if callable(final_answer):
        return final_answer
    return None if markers is None else lambda text: stated_answer(text, tuple(markers))


def check_row(reward: RewardFunction, row: Mapping[str, Any]) -> None:
    """Raises a ValueError if a reward with a method `check_row` cannot score the first row of a dataset."""
    if row and hasattr(reward, "check_row"):
        reward.check_row(row)


def check_reward_name(name: str) -> None:
    """Raises a ValueError if a name is neither registered nor a dotted path; imports nothing."""
    if name not in REWARDS and not is_dotted_path(name):
        raise ValueError(f"Unknown reward {name!r}. Known: {', '.join(REWARDS)}; or give a dotted path.")


def _import(path: str, name: str) -> Any:
    check_reward_name(name)
    try:
        return import_path(path, with_own_files=name not in REWARDS)
    except ImportError as error:
        raise ValueError(f"Cannot load the reward {name!r}: {error}. Registered: {', '.join(REWARDS)}.") from error


def _make(factory: Any, name: str, arguments: dict[str, Any]) -> RewardFunction:
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"The reward {name!r}: {error}. It takes: {inspect.signature(factory)}. Set them in `reward_kwargs`, such "
            f"as `reward_kwargs: {{{name}: {{...}}}}`."
        ) from error
    return factory(**arguments)
