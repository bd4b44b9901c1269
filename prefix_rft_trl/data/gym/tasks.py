"""Make tasks of reasoning-gym by name, with checked options."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import nearest


if TYPE_CHECKING:
    from reasoning_gym.dataset import ProceduralDataset

COMPOSITE = "composite"  # the task that mixes others
PIP_LINE = 'pip install "prefix_rft_trl[reasoning_gym]"'


def make_task(name: str, options: Mapping[str, Any], seed: int = 0, size: int = 1) -> "ProceduralDataset":
    """A task of reasoning-gym, which generates problems by their number.

    Args:
        name (`str`): name of the task; `"composite"` mixes the tasks in its option `datasets`, each a mapping with
            `name` and, optionally, `weight` and `config`.
        options (`Mapping[str, Any]`): options of the task's configuration, besides seed and size.
        seed, size (`int`): seed and number of the problems.

    Raises:
        ValueError: if reasoning-gym is not installed, has no such task, or refuses the options.
    """
    known = registered_tasks()
    if name not in known:
        hint = nearest(name, known, most=3) or f" It has: {', '.join(sorted(known))}."
        raise ValueError(f"reasoning-gym has no task {name!r}.{hint}")
    task_class, config_class = known[name]
    _check_options(name, options, config_class)
    try:
        config = config_class(**_config_options(name, options), seed=seed, size=size)
        if hasattr(config, "validate"):
            config.validate()
        return task_class(config=config)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"the task {name!r} of reasoning-gym cannot be made with the options {dict(options)}: "
            f"{str(error) or type(error).__name__}."
        ) from error


def registered_tasks() -> dict[str, tuple[Any, Any]]:
    """Task class and configuration class of each task, by name."""
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ValueError(
            f"tasks of reasoning-gym need a package that is not installed ({error}): {PIP_LINE}"
        ) from error
    return DATASETS


def _check_options(name: str, options: Mapping[str, Any], config_class: type) -> None:
    known = sorted({option.name for option in fields(config_class)} - {"seed", "size"})
    for option in options:
        if option not in known:
            raise ValueError(
                f"the task {name!r} of reasoning-gym has no option {option!r}.{nearest(option, known)} It has: "
                f"{', '.join(known) or 'none'}."
            )


def _config_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if name != COMPOSITE:
        return dict(options)
    from reasoning_gym.composite import DatasetSpec

    parts = [DatasetSpec(**{"weight": 1.0, "config": {}, **part}) for part in options.get("datasets") or []]
    return {**options, "datasets": parts}
