"""`prefix-rft data`: convert a dataset into `prompt`, `completion` and `solution`; `data check`; `data sample`."""

import argparse
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.convert.options import ConversionOptions
from prefix_rft_trl.data.convert.sources import SOURCES, KnownSource
from prefix_rft_trl.data.data_files import check_source, file_format
from prefix_rft_trl.data.held_out import pick_split
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.data.prompts import MARK_INSTRUCTION
from prefix_rft_trl.utils.documented import parameter_texts
from prefix_rft_trl.utils.errors import UserError, as_user_error, nearest
from prefix_rft_trl.utils.renamed import current_flags

from .flags import command_parser


if TYPE_CHECKING:
    from datasets import Dataset

    from prefix_rft_trl.data.convert.conversion import Conversion
    from prefix_rft_trl.data.convert.instruction import Instruction

DESCRIPTION = """\
Convert a dataset into the columns prompt, completion (the demonstrations) and
solution (the answer), which `prefix-rft train` and `trl sft` take. Reports what
was kept, dropped and appended, and why. Defaults are the paper's.

sources:
{sources}

`prefix-rft data check` checks any dataset before it is trained on;
`prefix-rft data sample` makes demonstrations from a model's own answers."""

EPILOG = """\
  prefix-rft data gsm8k --output data/gsm8k.parquet
  prefix-rft data openr1-math --output data/openr1.parquet \\
      --tokenizer Qwen/Qwen2.5-Math-7B
  prefix-rft data columns --input mine.jsonl --output data/mine.parquet \\
      --prompt_column question --demonstration_column worked \\
      --answer_column answer"""

# Options of every conversion, by group, with what a flag takes
CONVERSION_FLAGS: dict[str, dict[str, str | None]] = {
    "prompts": {"system_prompt": "TEXT", "instruction": "TEXT", "plain_text": None},
    "demonstrations": {"thinking": "keep|strip|TAG", "max_demonstrations": "N"},
    "lengths": {"tokenizer": "MODEL", "max_prompt_tokens": "N", "max_demonstration_tokens": "N"},
    "ablations": {"demonstrated_share": "SHARE", "corrupted_share": "SHARE", "seed": "N"},
    "size": {"max_rows": "N"},
    "held-out problems": {"test_share": "SHARE", "test_seed": "N"},
}
OLD_FLAGS = {"demonstrations": "demonstrated_share", "corrupt": "corrupted_share"}
TYPES = {"N": int, "SHARE": float}
COLUMNS = {"prompt_column": "prompt", "demonstration_column": "completion", "answer_column": "solution"}


def run(argv: list[str]) -> int:
    if argv[:1] == ["check"]:
        from .data_check import run as check

        return check(argv[1:])
    if argv[:1] == ["sample"]:
        from .data_sample import run as sample

        return sample(argv[1:])
    arguments = make_parser().parse_args(current_flags(argv, OLD_FLAGS))
    source = _find_source(arguments.source)
    if arguments.input:
        check_source(arguments.input, is_streaming=True)  # before the imports, which take seconds

    from prefix_rft_trl.data.convert.conversion_report import print_conversion
    from prefix_rft_trl.data.convert.output import output_files

    outputs = output_files(Path(arguments.output), bool(arguments.test_share))
    with as_user_error(ValueError):
        conversion, instruction = _convert(arguments, source, outputs)
    configs = f", configuration {' '.join(arguments.config)}" if arguments.config else ""
    name = f"{arguments.input or source.input}{configs}, split {arguments.split}"
    print_conversion(conversion, name, outputs, instruction, arguments.system_prompt)
    if not conversion.rows_kept:
        raise UserError("no row is left, so nothing was written.")
    if instruction.warning:
        print(f"\nprefix-rft data: warning: {instruction.warning}", file=sys.stderr)
    return 0


def make_parser() -> argparse.ArgumentParser:
    usage = "prefix-rft data SOURCE --output FILE [--OPTION VALUE ...]"
    parser = command_parser("data", DESCRIPTION.format(sources=_sources_text()), usage, EPILOG)
    parser.add_argument("source", metavar="SOURCE", help="one of the above")
    _add_files(parser.add_argument_group("files"))
    _add_source_options(parser.add_argument_group("sources"))
    texts = parameter_texts(ConversionOptions.__doc__ or "")
    defaults = {option.name: option.default for option in fields(ConversionOptions)}
    for title, flags in CONVERSION_FLAGS.items():
        group = parser.add_argument_group(title)
        for name, metavar in flags.items():
            text, default = texts[name], defaults[name]
            if metavar is None:
                group.add_argument(f"--{name}", action="store_true", default=None, help=text)
            else:
                text += "" if default is None else f" (default: {default})"
                group.add_argument(f"--{name}", type=TYPES.get(metavar, str), metavar=metavar, help=text)
    return parser


def _sources_text() -> str:
    width = max(map(len, SOURCES)) + 4
    return "\n".join(
        textwrap.fill(source.purpose, 78, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width)
        for name, source in SOURCES.items()
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    known = ", ".join(f"{source.input} for {name}" for name, source in SOURCES.items() if source.input)
    group.add_argument(
        "--output", required=True, metavar="FILE", help="a .parquet or .jsonl file; with --test_share a folder"
    )
    group.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    places = f"name on the Hub, or a JSONL, JSON, Parquet, CSV or TSV file, or a folder ({known})"
    group.add_argument("--input", metavar="NAME", help=places)
    group.add_argument("--config", nargs="+", metavar="NAME", help="configurations on the Hub, concatenated")
    group.add_argument("--split", default="train", help="split (default: train)")


def _add_source_options(group: argparse._ArgumentGroup) -> None:
    for name, default in COLUMNS.items():
        takers = ", ".join(source for source in SOURCES if name in SOURCES[source].options)
        text = f"{takers}: column name (default: {default}); a.b is the value under b in column a"
        group.add_argument(f"--{name}", metavar="COLUMN", help=text)
    group.add_argument("--keep_mark", action="store_true", default=None, help="gsm8k: end with #### 72, without a box")
    llama = "openr1-math 220k: also take what only the Llama judge marked correct; the reward may not recognise it"
    group.add_argument("--llama_marks", action="store_true", default=None, help=llama)


def _find_source(name: str) -> KnownSource:
    if name not in SOURCES:
        known, hint = ", ".join(SOURCES), nearest(name, [*SOURCES, "check", "sample"])
        raise UserError(f"there is no source {name!r}.{hint} Known: {known}; and `check` and `sample`.")
    return SOURCES[name]


def _convert(
    arguments: argparse.Namespace, source: KnownSource, outputs: list[Path]
) -> "tuple[Conversion, Instruction]":
    from prefix_rft_trl.data.convert.conversion import convert
    from prefix_rft_trl.data.convert.instruction import choose_instruction, sample_problems
    from prefix_rft_trl.data.convert.output import check_output
    from prefix_rft_trl.utils.files import atomic_file, exclusive_file

    source_options = _source_options(arguments, source)
    for output in outputs:
        check_output(output, arguments.overwrite)
        _check_input(arguments, source, output)
    options = _conversion_options(arguments)
    default = MARK_INSTRUCTION if arguments.keep_mark else source.instruction
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(exclusive_file(output))
        partial = [stack.enter_context(atomic_file(output)) for output in outputs]
        dataset = _load(arguments, source)
        reader = source.reader(dataset.column_names, **source_options)
        instruction = choose_instruction(sample_problems(dataset, reader), arguments.instruction, default)
        return convert(dataset, reader, replace(options, instruction=instruction.text), *partial), instruction


def _source_options(arguments: argparse.Namespace, source: KnownSource) -> dict[str, Any]:
    """The given options that are the source's own."""
    names = {name for each in SOURCES.values() for name in each.options}
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    for name in given:
        if name not in source.options:
            takers = ", ".join(other for other in SOURCES if name in SOURCES[other].options)
            raise UserError(f"--{name} is for {takers}, not for {arguments.source}.")
    return given


def _check_input(arguments: argparse.Namespace, source: KnownSource, output: Path) -> None:
    if not (arguments.input or source.input):
        raise UserError(f"{arguments.source} needs --input: a name on the Hub or a local file.")
    if arguments.config and file_format(arguments.input or ""):
        raise UserError(f"--config is for datasets on the Hub; {arguments.input!r} is a file.")
    source_file = Path(arguments.input or "").expanduser()
    if arguments.input and output.exists() and source_file.exists() and output.samefile(source_file):
        raise UserError(f"the output is the input, {str(output)!r}. Name another file.")


def _conversion_options(arguments: argparse.Namespace) -> ConversionOptions:
    names = {option.name for option in fields(ConversionOptions)}
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    tokenizer = given.pop("tokenizer", None)
    limits = [name for name in ("max_prompt_tokens", "max_demonstration_tokens") if name in given]
    if limits and not tokenizer:
        raise UserError(f"--{limits[0]} counts tokens. Name the model to train with --tokenizer.")
    options = ConversionOptions(**given)
    if not tokenizer:
        return options
    from prefix_rft_trl.models.sources import load_tokenizer

    return replace(options, tokenizer=load_tokenizer(tokenizer))


def _load(arguments: argparse.Namespace, source: KnownSource) -> "Dataset":
    from datasets import concatenate_datasets

    name = arguments.input or source.input
    configs = arguments.config or [source.config if name == source.input else None]
    given = {flag: getattr(arguments, flag) for flag in COLUMNS} if "answer_column" in source.options else None
    return concatenate_datasets(
        [pick_split(load_splits(name, config, columns=given, say=print), arguments.split) for config in configs]
    )
