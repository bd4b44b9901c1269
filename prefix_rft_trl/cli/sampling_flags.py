"""Flags of the commands that sample from a model: settings of the sampling, of prompts and reward, and the engine."""

import argparse
from collections.abc import Container, Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, get_args, get_type_hints

from prefix_rft_trl.evaluation.sampling import EvalOverrides, Sampling
from prefix_rft_trl.utils.documented import parameter_texts

from .flags import read_dict


if TYPE_CHECKING:
    from prefix_rft_trl.evaluation.engines import Engine


def add_settings(
    group: argparse._ArgumentGroup, settings: type, defaults: Mapping[str, str] = {}, leave_out: Container[str] = ()
) -> None:
    """A flag for each setting of a dataclass, with its text in the docstring as help."""
    docstrings = [parent.__doc__ or "" for parent in reversed(settings.__mro__[:-1])]
    texts = {name: text for docstring in docstrings for name, text in parameter_texts(docstring).items()}
    for field in fields(settings):
        if field.name in leave_out:
            continue
        default = defaults.get(field.name, field.default)
        text = texts[field.name].rstrip(".") + ("" if default is None else f" ({default})")
        hint = get_type_hints(settings)[field.name]
        kind = next(iter(get_args(hint)), hint)  # that of an optional setting
        if kind is bool:
            group.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, help=text)
        else:
            is_plain = kind in (int, float, str)
            read = kind if is_plain else partial(read_dict, field.name)
            group.add_argument(f"--{field.name}", type=read, metavar="VALUE" if is_plain else "JSON", help=text)


def add_engine(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_argument_group("engine")
    engine.add_argument("--backend", choices=("vllm", "transformers"), help="(vllm where it is installed)")
    engine.add_argument("--dtype", help="dtype of the weights (float32 on a CPU, auto on a GPU)")
    engine.add_argument("--tensor_parallel_size", type=int, default=1, metavar="N", help="GPUs that share a model (1)")
    engine.add_argument(
        "--data_parallel_size", type=int, default=1, metavar="N", help="processes that share the samples (1)"
    )
    engine.add_argument(
        "--vllm_kwargs",
        type=partial(read_dict, "vllm_kwargs"),
        default={},
        metavar="JSON",
        help="further arguments of vLLM's LLM",
    )


def read_engine(arguments: argparse.Namespace) -> "Engine":
    """The engine of a command line. Raises `ValueError` if it is not there, or has too few GPUs."""
    from prefix_rft_trl.evaluation.engines import Engine

    engine = Engine(**{field.name: getattr(arguments, field.name) for field in fields(Engine)})
    engine.check_gpus()
    return engine


def read_overrides(arguments: argparse.Namespace, engine: "Engine") -> EvalOverrides:
    """What a command line sets of the sampling and the problems."""
    given = vars(arguments)
    if given["batch_size"] is None:  # vLLM fills its own batches, and waits for the last answer of a chunk
        given["batch_size"] = 2048 if engine.uses_vllm else 256
    sampling = Sampling(
        **{field.name: given[field.name] for field in fields(Sampling) if given[field.name] is not None}
    )
    names = {field.name for field in fields(EvalOverrides)} & given.keys()
    return EvalOverrides(**{name: given[name] for name in names}, sampling=sampling)
