"""The rewards of a recipe, and the columns that they read."""

from typing import Any

from prefix_rft_trl.rewards import RewardFunction, load_reward
from prefix_rft_trl.rewards.registry import check_row, required_columns
from prefix_rft_trl.utils.errors import UserError


def load_rewards(script_args: Any) -> list[RewardFunction]:
    if not script_args.reward_funcs:
        raise UserError("`measure_steps` needs a reward: set `reward_funcs` to a registered name or a dotted path.")
    names = script_args.reward_funcs if isinstance(script_args.reward_funcs, list) else [script_args.reward_funcs]
    arguments = script_args.reward_kwargs or {}
    if unknown := set(arguments) - set(names):
        raise UserError(
            f"`reward_kwargs` names {', '.join(sorted(unknown))}, which is not one of `reward_funcs`: "
            f"{', '.join(names)}."
        )
    return [load_reward(name, arguments.get(name)) for name in names]


def check_columns(rewards: list[RewardFunction], dataset: Any) -> None:
    first: dict[str, Any] = next(iter(dataset), {})
    columns = list(first)
    for reward in rewards:
        missing = [name for name in required_columns(reward) if columns and name not in columns]
        if not missing:
            check_row(reward, first)
            continue
        remedy = "Rename one of them, or take another reward"
        if missing[0] == getattr(reward, "solution_column", None):
            remedy = f"Set `reward_kwargs: {{{reward.__name__}: {{solution_column: ...}}}}`"
        if missing[0] == "solution":
            remedy = "Set `answer_column` to the one with the right answers"
        raise UserError(
            f"the reward {reward.__name__!r} reads the column '{missing[0]}', and the dataset has: "
            f"{', '.join(columns)}. {remedy}."
        )
