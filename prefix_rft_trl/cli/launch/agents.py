"""The tools and environments of a recipe: arguments of its trainer, checked before a model is loaded."""

from collections.abc import Mapping
from typing import Any

from prefix_rft_trl.method.trajectories import has_turns
from prefix_rft_trl.trajectories.tool_registry import check_environment_column, load_environments, load_tools
from prefix_rft_trl.utils.errors import UserError, as_user_error


AGENT_SETTINGS = ("tools", "environment_factory")
LEADING = 100  # rows among which tool calls are looked for


def agent_arguments(script_args: Any) -> dict[str, Any]:
    """The arguments `tools` and `environment_factory` of a trainer, as far as a recipe has them.

    Raises:
        UserError: naming the setting, what cannot be used in it, and the fix.
    """
    loaders = dict(zip(AGENT_SETTINGS, (load_tools, load_environments), strict=True))
    with as_user_error(ValueError):
        return {name: load(found) for name, load in loaders.items() if (found := getattr(script_args, name))}


def refuse_agent_settings(script_args: Any) -> None:
    """Raises a UserError if a recipe without rollouts names tools or environments."""
    if given := [name for name in AGENT_SETTINGS if getattr(script_args, name)]:
        raise UserError(
            f"`{given[0]}` is called in rollouts, which `trainer: {script_args.trainer}` has none of. Leave it "
            "out, or set `trainer: prefix_grpo`; its SFT on trajectories is recipes/lab-agent/sft.yaml."
        )


def refuse_trajectories(rows: Any, column: str) -> None:
    """Raises a UserError naming the first of the leading rows whose demonstration calls tools, for SFT.

    Args:
        rows (`Dataset` or `IterableDataset`): to train on.
        column (`str`): of the demonstrations.
    """
    for row, example in enumerate(rows.take(LEADING)):
        value = example.get(column)
        if any(map(has_turns, [value, *value] if isinstance(value, list) else [])):
            raise UserError(
                f"row {row}, column '{column}': the demonstration calls tools, and `trainer: sft` trains "
                "demonstrations of one turn. Train on them in the tool loop, as recipes/lab-agent/sft.yaml does, or "
                "with TRL's own `trl sft`, whose dataset has the column `tools`."
            )


def refuse_tools_of_recipe(settings: Mapping[str, Any], command: str) -> None:
    """Raises a UserError if a command that samples single answers is given a recipe with tools or environments.

    Args:
        settings (`Mapping`): of the recipe.
        command (`str`): such as `prefix-rft advise`.
    """
    if given := [name for name in AGENT_SETTINGS if settings.get(name)]:
        raise UserError(
            f"the recipe has `{given[0]}`, and `{command}` calls no tools, so its answers would not be those of the "
            "training. Give it a recipe without; `measure_steps` says how often a training with tools solves problems."
        )


def rewards_itself(agent: dict[str, Any]) -> bool:
    """Whether an environment may give rewards: one that has `get_reward`, or is made by a function."""
    found = agent.get("environment_factory")
    factories = found.values() if isinstance(found, dict) else [found] if found else []
    return any(hasattr(factory, "get_reward") or not isinstance(factory, type) for factory in factories)


def check_agent_rows(agent: dict[str, Any], rows: Any) -> None:
    """Raises a UserError if rollouts that call tools cannot start from the rows of a dataset.

    Args:
        agent (`dict`): from [`agent_arguments`].
        rows (`Dataset`): with the column `prompt`.
    """
    if not agent:
        return
    first: dict[str, Any] = next(iter(rows), {})
    prompt = first.get("prompt")
    if isinstance(prompt, str):
        raise UserError(
            f"`{next(iter(agent))}` is called in conversations, and the prompts are text, such as {prompt!r:.60}. "
            "Set `conversational: true`, which makes each a user's message."
        )
    with as_user_error(ValueError):
        check_environment_column(rows, agent.get("environment_factory"))


def check_agent_model(arguments: dict[str, Any]) -> None:
    """Raises a UserError if the chat template of a trainer's model writes no tool calls, or nothing reads them.

    Args:
        arguments (`dict`): of the trainer.
    """
    if not any(arguments.get(name) for name in AGENT_SETTINGS):
        return
    from trl.chat_template_utils import (
        add_response_schema,
        get_training_chat_template,
        is_chat_template_prefix_preserving,
        supports_tool_calling,
    )

    from prefix_rft_trl.checks import load_processing_class

    model = arguments["model"]
    processor = arguments.get("processing_class") or load_processing_class(model, arguments["args"])
    if processor is None:  # of an adapter, whose base TRL looks up
        return
    if not supports_tool_calling(processor):
        found = "has no chat template" if processor.chat_template is None else "has a chat template without tool calls"
        raise UserError(
            f"`{next(name for name in AGENT_SETTINGS if arguments.get(name))}` needs a model that calls tools, and "
            f"{model} {found}. Take another model, or give it a template by `model_changes`."
        )
    tokenizer = getattr(processor, "tokenizer", processor)
    if all(getattr(tokenizer, name, None) is None for name in ("response_template", "response_schema")):
        try:
            add_response_schema(processor)
        except ValueError as error:
            raise UserError(
                f"nothing reads the tool calls of {model}: TRL does not know its chat template, and its tokenizer has "
                "no `response_template`. Add one to its tokenizer_config.json (transformers, chat response parsing)."
            ) from error
    if not is_chat_template_prefix_preserving(processor):
        try:
            get_training_chat_template(processor)
        except ValueError as error:
            raise UserError(
                f"the chat template of {model} writes a message otherwise when a tool's result follows, and TRL has "
                "no other for it. Change the template by `model_changes`."
            ) from error
