"""Refuse a table of models that were asked or scored differently: their figures could not be compared."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from prefix_rft_trl.rewards.registry import REWARDS
from prefix_rft_trl.utils.redaction import SECRET


Settings = Mapping[str, Any]  # of a model on a benchmark, as evaluations record them

SCORED = ("reward", "reward_kwargs", "max_new_tokens", "temperature", "top_p", "chat_template_kwargs")
PROMPTS = ("system_prompt", "instruction", "conversational")  # in which problems can differ
PROBLEMS = "problems"
RUN = ("num_samples", "seed", "backend", "dtype", "tensor_parallel_size", "vllm_kwargs")
LONGEST_VALUE = 60  # characters


def check_asked_alike(benchmark: str, settings: Mapping[str, Settings]) -> None:
    """Raises `ValueError` if models, by name, are not asked and scored alike on a benchmark: how, and what sets it."""
    differing = [name for name in SCORED if _differs(name, settings)]
    if _differs(PROBLEMS, settings):
        differing += [name for name in PROMPTS if _differs(name, settings)] or [PROBLEMS]
    if differing:
        differences = "; ".join(_difference(name, settings) for name in differing)
        flags = " ".join(_flag(name, settings) for name in differing)
        raise ValueError(
            f"On {benchmark} the models are not asked and scored alike: {differences}. Evaluate all of them with the "
            f"same, such as {flags}, or each in a table of its own."
        )


def differing_runs(settings: Mapping[str, Settings]) -> list[str]:
    """What the models were run with, where that differs: it changes rounding and exactness, and not what is asked."""
    return [_difference(name, settings) for name in RUN if _differs(name, settings)]


def reward_label(name: str, module: str | None) -> str:
    """The name that loads a reward: the registered one, or its dotted path."""
    path = f"{module}.{name}"
    registered = {path: name for name, path in REWARDS.items()}.get(path, name)
    return registered if registered in REWARDS else path


def _differs(name: str, settings: Mapping[str, Settings]) -> bool:
    return len({_value(name, of_model) for of_model in settings.values()}) > 1


def _difference(name: str, settings: Mapping[str, Settings]) -> str:
    models: dict[str, list[str]] = {}
    for model, of_model in settings.items():
        models.setdefault(_value(name, of_model), []).append(model)
    if name == PROBLEMS:
        return "the problems are not the same"
    values = (f"{_shortened(value)} ({', '.join(of_value)})" for value, of_value in models.items())
    return f"{name} {', '.join(values)}"


def _flag(name: str, settings: Mapping[str, Settings]) -> str:
    """A flag by which all models are asked alike: as the last of them, with the smallest budget, as plain text."""
    model, last = [*settings.items()][-1]
    value = last.get(name)
    if name == PROBLEMS:
        return "the same --benchmarks and --num_problems"
    if name == "conversational":
        return "--no-conversational"
    if name == "max_new_tokens":
        value = min(of_model[name] for of_model in settings.values())
    text = _value(name, last) if name == "reward" else value if isinstance(value, str) else json.dumps(value)
    if SECRET in text:
        return f"the --{name} of {model} (what is secret in it is not recorded)"
    if name == "reward" and not all(part.isidentifier() for part in text.split(".")):
        return f"a --reward that has a name ({text} cannot be loaded)"
    if len(text) > LONGEST_VALUE or not text.isprintable():  # a terminal would wrap it
        return f"the --{name} of {model} (whole in its settings file)"
    return f"--{name} {shlex.quote(text)}"


def _value(name: str, settings: Settings) -> str:
    value = settings.get(name)
    return reward_label(str(value), settings.get("reward_module")) if name == "reward" else repr(value)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
