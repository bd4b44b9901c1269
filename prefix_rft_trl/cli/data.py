"""`prefix-rft data`: datasets of others as `prompt`, `completion`, `solution`; and `prefix-rft data check`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.loading import LOCAL_FORMATS, load_splits, pick_split
from prefix_rft_trl.utils.errors import UserError, nearest


if TYPE_CHECKING:
    from datasets import Dataset

    from prefix_rft_trl.data.convert.conversion import Outcome
    from prefix_rft_trl.data.convert.options import Settings
    from prefix_rft_trl.data.convert.sources import Source


def run(argv: list[str]) -> int:
    if argv[:1] == ["check"]:
        from .data_check import run as check

        return check(argv[1:])
    from prefix_rft_trl.data.convert.conversion_report import show

    from .data_options import make_parser

    arguments = make_parser().parse_args(argv)
    source, output = _source(arguments.source), Path(arguments.output)
    options = _options(arguments, source)
    try:
        outcome = _convert(arguments, source, options, output)
    except (ValueError, OSError, _dataset_error()) as error:
        raise UserError(_reason(error)) from error
    show(outcome, _name(arguments, source), output)
    if not outcome.rows_kept:
        raise UserError("no row is left, so nothing was written.")
    return 0


def _source(name: str) -> "Source":
    from prefix_rft_trl.data.convert.sources import SOURCES

    if name not in SOURCES:
        known, meant = ", ".join(SOURCES), nearest(name, [*SOURCES, "check"])
        raise UserError(f"there is no source {name!r}.{meant} Known: {known}; and `check`.")
    return SOURCES[name]


def _options(arguments: argparse.Namespace, source: "Source") -> dict[str, Any]:
    """The options of the source alone that were given."""
    from prefix_rft_trl.data.convert.sources import SOURCES

    every = dict.fromkeys(name for each in SOURCES.values() for name in each.options)
    given = {name: getattr(arguments, name) for name in every if getattr(arguments, name) is not None}
    for name in given:
        if name not in source.options:
            takers = ", ".join(other for other in SOURCES if name in SOURCES[other].options)
            raise UserError(f"--{name} is for {takers}, not for {arguments.source}.")
    return given


def _convert(arguments: argparse.Namespace, source: "Source", options: dict[str, Any], output: Path) -> "Outcome":
    from prefix_rft_trl.data.convert.conversion import convert
    from prefix_rft_trl.data.convert.writing import check_output
    from prefix_rft_trl.utils.files import atomic_file

    check_output(output, arguments.overwrite)
    _check_input(arguments, source, output)
    settings = _settings(arguments, source, options)
    with atomic_file(output) as partial:
        dataset = _load(arguments, source)
        return convert(dataset, source.reader(dataset.column_names, **options), settings, partial)


def _check_input(arguments: argparse.Namespace, source: "Source", output: Path) -> None:
    if not (arguments.input or source.input):
        raise UserError(f"{arguments.source} needs --input: a name on the Hub or a local file.")
    if arguments.config and Path(arguments.input or "").suffix in LOCAL_FORMATS:
        raise UserError(f"--config is for datasets on the Hub; {arguments.input!r} is a file.")
    if arguments.input and output.exists() and Path(arguments.input).exists() and output.samefile(arguments.input):
        raise UserError(f"the output is the input, {str(output)!r}. Name another file.")


def _settings(arguments: argparse.Namespace, source: "Source", options: dict[str, Any]) -> "Settings":
    from prefix_rft_trl.data.convert.options import Settings
    from prefix_rft_trl.data.convert.selection import load_tokenizer
    from prefix_rft_trl.data.prompts import MARK_INSTRUCTION

    lengths = {
        name: getattr(arguments, name)
        for name in ("max_prompt_tokens", "max_demonstration_tokens")
        if getattr(arguments, name) is not None
    }
    if lengths and not arguments.tokenizer:
        raise UserError(f"--{next(iter(lengths))} counts tokens. Add --tokenizer, the model that is to be trained.")
    by_default = MARK_INSTRUCTION if options.get("keep_mark") else source.instruction
    checked = Settings(
        system_prompt=arguments.system_prompt,
        instruction=by_default if arguments.instruction is None else arguments.instruction,
        plain_text=arguments.plain_text,
        thinking=arguments.thinking,
        max_demonstrations=arguments.max_demonstrations,
        demonstrated_share=arguments.demonstrations,
        damaged_share=arguments.corrupt,
        seed=arguments.seed,
        max_rows=arguments.max_rows,
        **lengths,
    )
    return checked.counting_with(load_tokenizer(arguments.tokenizer)) if arguments.tokenizer else checked


def _load(arguments: argparse.Namespace, source: "Source") -> "Dataset":
    from datasets import concatenate_datasets

    name = arguments.input or source.input
    configs = arguments.config or [source.config if name == source.input else None]
    return concatenate_datasets([pick_split(load_splits(name, config), arguments.split) for config in configs])


def _name(arguments: argparse.Namespace, source: "Source") -> str:
    configs = f", configuration {' '.join(arguments.config)}" if arguments.config else ""
    return f"{arguments.input or source.input}{configs}, split {arguments.split}"


def _reason(error: BaseException) -> str:
    """What is said of an error, and of what it came from where `datasets` says only that there was one."""
    return f"{error} {error.__cause__}" if error.__cause__ and isinstance(error, _dataset_error()) else str(error)


def _dataset_error() -> type[Exception]:
    from datasets.exceptions import DatasetsError

    return DatasetsError
