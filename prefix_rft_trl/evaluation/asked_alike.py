"""Refuse a table of models that were asked or scored differently: their figures could not be compared."""

from collections.abc import Mapping
from typing import Any

from prefix_rft_trl.rewards.registry import REWARDS


Settings = Mapping[str, Any]  # of a model on a benchmark, as evaluations record them

FLAGS = {
    "reward": "--reward",
    "reward_kwargs": "--reward_kwargs",
    "max_new_tokens": "--max_new_tokens",
    "temperature": "--temperature",
    "top_p": "--top_p",
    "chat_template_kwargs": "--chat_template_kwargs",
}
FLAGS_OF_PROMPTS = {
    "system_prompt": "--system_prompt",
    "instruction": "--instruction",
    "conversational": "--no-conversational",
}
PROBLEMS = {"problems": "--benchmarks, --num_problems"}
ENGINE = ("backend", "dtype", "tensor_parallel_size", "vllm_kwargs")
LONGEST_VALUE = 60  # characters


def check_asked_alike(benchmark: str, settings: Mapping[str, Settings]) -> None:
    """Raises `ValueError` if models, by name, are not asked and scored alike on a benchmark: how, and what sets it."""
    flags = {name: flag for name, flag in FLAGS.items() if _differs(name, settings)}
    if _differs("problems", settings):
        prompts = {name: flag for name, flag in FLAGS_OF_PROMPTS.items() if _differs(name, settings)}
        flags |= prompts or PROBLEMS
    if flags:
        differences = "; ".join(_difference(name, settings) for name in flags)
        raise ValueError(
            f"On {benchmark} the models are not asked and scored alike: {differences}. Give all of them the same by "
            f"{', '.join(flags.values())}, or evaluate them in separate tables."
        )


def differing_engines(settings: Mapping[str, Settings]) -> list[str]:
    """What the models were run with, where that differs: it changes rounding, and not what is asked."""
    return [_difference(name, settings) for name in ENGINE if _differs(name, settings)]


def _differs(name: str, settings: Mapping[str, Settings]) -> bool:
    return len({_value(name, of_model) for of_model in settings.values()}) > 1


def _difference(name: str, settings: Mapping[str, Settings]) -> str:
    models: dict[str, list[str]] = {}
    for model, of_model in settings.items():
        models.setdefault(_value(name, of_model), []).append(model)
    if name in PROBLEMS:
        return "the problems are not the same"
    values = (f"{_shortened(value)} ({', '.join(of_value)})" for value, of_value in models.items())
    return f"{name} {', '.join(values)}"


def _value(name: str, settings: Settings) -> str:
    value = settings.get(name)
    if name == "reward":
        path = f"{settings.get('reward_module')}.{value}"
        registered = {path: name for name, path in REWARDS.items()}.get(path, value)
        return str(registered if registered in REWARDS else path)
    return repr(value)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
