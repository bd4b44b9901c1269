"""`prefix-rft data check`: check a dataset row by row, before a run meets its faults."""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS, find_benchmarks, local_folder
from prefix_rft_trl.data.data_files import check_source
from prefix_rft_trl.data.held_out import HELD_OUT, pick_split, split_names, with_held_out
from prefix_rft_trl.data.loading import check_column, load_splits
from prefix_rft_trl.models.changes import ModelChanges, changed_tokenizer
from prefix_rft_trl.models.sources import NO_WARNING_LENGTH, context_length, load_tokenizer, resolve_model
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import check_writable, write_atomically
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.tables import print_sentence

from .checked_tools import add_tool_flags, make_call_check
from .flags import command_parser
from .launch.prompted_rows import OF_LAB
from .launch.recipe import load_recipe


if TYPE_CHECKING:
    from datasets import Dataset

    from prefix_rft_trl.data.check import Columns, Report
    from prefix_rft_trl.data.check.lengths import Budgets
    from prefix_rft_trl.data.check.measures import TokenMeasure
    from prefix_rft_trl.data.row_encoder import LongestPrefix
    from prefix_rft_trl.trajectories.checked_calls import ToolCallCheck

Settings = dict[str, Any]

DESCRIPTION = """\
Check a dataset before a run meets its faults: rows without a demonstration,
gold answers that do not parse, demonstrations that end in another answer or in
another form than asked for, duplicates, problems of the evaluation benchmarks,
tokens of chat templates inside texts, tool calls that do not fit their tools,
and rows that do not fit. The exit code is 0 for clean, 1 for problems, 2 for
unusable."""

EPILOG = """\
  prefix-rft data check train.parquet --benchmarks math500 aime25
  prefix-rft data check --recipe recipes/gsm8k/prefix_rft.yaml
  prefix-rft data check openai/gsm8k --config main --prompt_column question \\
      --demonstration_column answer --answer_column answer
  prefix-rft data check trajectories.jsonl --tools my_tools.search --execute

With a recipe the dataset, its columns, the tokenizer and the budgets are the
recipe's; flags override it."""

ROW = "row_of_split"  # column with the number of a row in the dataset
MARKERS_OF_LAB = ("#",)
MAPPINGS = ("chat_template_kwargs", "reasoning_gym", "model_changes")
COLUMNS = {  # contents, default name, and what else the flag takes
    "prompt": ("prompts", "prompt", ""),
    "demonstration": ("demonstrations", "completion", ", or `none` for plain GRPO"),
    "answer": ("gold answers", "solution", ", or `none` if the reward needs none"),
}


def run(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.dataset:
        check_source(arguments.dataset, is_streaming=True)  # before the imports, which take seconds

    from prefix_rft_trl.data.check import check_dataset

    if arguments.json:
        with as_user_error(ValueError):
            check_writable(Path(arguments.json))
    settings = settings_for_check(load_recipe(Path(arguments.recipe)) if arguments.recipe else {})
    name = arguments.dataset or settings.get("dataset_name")
    split = arguments.split or settings.get("dataset_train_split", "train")
    named = {f"{kind}_column" for kind in COLUMNS}
    given = {flag: getattr(arguments, flag) or settings.get(flag) for flag in named}
    dataset, numbers, held_out = _load(
        name, arguments.config or settings.get("dataset_config"), split, settings, given
    )
    columns = _columns(arguments, settings, dataset)
    benchmarks = _benchmarks(arguments.benchmarks)
    calls = make_call_check(arguments, settings, columns.demonstration)
    measure = _measure(arguments, settings, calls)
    budgets = _budgets(arguments, settings) if measure else None

    from prefix_rft_trl.rewards.verification.verifier import Verifier

    with as_user_error(ValueError), Verifier(arguments.num_workers) as verifier:
        markers = _markers(arguments, name, settings)
        rows = _rows_per_step(settings) if arguments.recipe else None
        asked = settings.get("instruction")
        of_recipe = (measure, budgets, markers, rows, asked)
        report = check_dataset(dataset, columns, verifier, benchmarks, *of_recipe, numbers, held_out, calls)
    _show(report, f"{name}, split {split}", arguments)
    for sentence in _other_demonstrations(arguments, settings, split):
        print_sentence(sentence, sys.stdout)
    return report.exit_code


def _other_demonstrations(arguments: argparse.Namespace, settings: Settings, split: str) -> Iterator[str]:
    """Sentences for a recipe that takes demonstrations from elsewhere than the dataset that was checked."""
    if arguments.dataset:
        return
    if settings.get("demonstration_source") == "own":
        yield (
            "The demonstrations of this dataset are not used: with `demonstration_source: own` prefixes are those of "
            "rollouts that solved their problem earlier in the run."
        )
    second, config = (settings.get(f"demonstration_dataset_{part}") for part in ("name", "config"))
    other = settings.get("demonstration_dataset_split", OF_LAB if second == "lab" else "train")
    if second and (second, config, other) != (settings.get("dataset_name"), settings.get("dataset_config"), split):
        flags = f"--split {other}" + (f" --config {config}" if config else "")
        remedy = f" `prefix-rft data check {second} {flags} --recipe {arguments.recipe}` does." * (second != "lab")
        yield f"Demonstrations of `demonstration_dataset_name` ({second}, split {other}) are not read here.{remedy}"


def settings_for_check(recipe: Settings) -> Settings:
    """The settings of a recipe that are not null; of one with stages, those of its last stage with rollouts."""
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    stages = [{**shared, **own} for own in (recipe.get("stages") or {"": {}}).values()]
    settings = [*stages, *(stage for stage in stages if stage.get("trainer") != "sft")][-1]
    parsed = {name: json.loads(settings[name]) for name in MAPPINGS if isinstance(settings.get(name), str)}
    return {name: value for name, value in {**settings, **parsed}.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("data check", DESCRIPTION, epilog=EPILOG)
    datasets = "a name on the Hub, a JSONL, JSON, Parquet, CSV or TSV file, a folder, `lab`, or `reasoning_gym/<task>`"
    parser.add_argument("dataset", nargs="?", help=datasets)
    parser.add_argument("--recipe", metavar="RECIPE.yaml", help="a recipe of `prefix-rft train`")
    parser.add_argument("--config", metavar="NAME", help="configuration of a dataset on the Hub")
    parser.add_argument("--split", metavar="NAME", help="split to check (default: train)")
    for kind, (contents, default, hint) in COLUMNS.items():
        parser.add_argument(
            f"--{kind}_column", metavar="NAME", help=f"column of the {contents} (default: {default}){hint}"
        )
    markers = f"markers of a final answer outside a box (default: {', '.join(MARKERS)})"
    parser.add_argument("--answer_markers", nargs="+", metavar="MARKER", help=markers)
    benchmarks = (
        "benchmarks whose problems the dataset must not hold: JSONL files, folders of them, or names among "
        f"{', '.join(BENCHMARKS)}; without a name, none (default: the files in $PREFIX_RFT_DATA/math_benchmarks)"
    )
    parser.add_argument("--benchmarks", nargs="*", metavar="NAME", help=benchmarks)
    parser.add_argument("--tokenizer", metavar="PATH", help="model whose tokens lengths are counted in")
    parser.add_argument("--max_prompt_tokens", type=int, metavar="N", help="longest prompt that fits")
    parser.add_argument("--max_completion_tokens", type=int, metavar="N", help="longest demonstration that fits")
    add_tool_flags(parser)
    workers = "processes that verify answers (default: one per core)"
    parser.add_argument("--num_workers", type=int, metavar="N", help=workers)
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="rows to show of each kind (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write the complete report, with all row numbers")
    return parser


def _load(
    name: str | None, config: str | None, split: str, settings: Settings, given: Settings
) -> "tuple[Dataset, list[int], int]":
    """The rows of a split, with those that are held out of it for measurements, their numbers in the split as it is
    in the dataset, and how many of them are held out.
    """
    if name is None:
        raise UserError("no dataset: name one before all flags, or a recipe with `dataset_name` (--recipe FILE).")
    named = {**settings, **{flag: column for flag, column in given.items() if column}}
    share = 0.0 if settings.get("dataset_test_file") else settings.get("test_share") or 0.0
    with as_user_error(ValueError):
        whole = {**named, "test_share": None} if share else named
        splits = load_splits(name, config, settings=whole, columns=given, say=print)
        for each, rows in splits.items():
            splits[each] = rows.add_column(ROW, list(range(len(rows))))
        if share:
            splits = with_held_out(splits, named, None)
        found = pick_split(splits, split)
    if len(found) == 0:
        raise UserError(f"the dataset {name!r} has no rows in its split '{split}'.")
    return _with_held_out(found, splits, split, HELD_OUT if share else settings.get("measure_split"), settings)


def _with_held_out(
    found: "Dataset", splits: Any, split: str, measured: str | None, settings: Settings
) -> "tuple[Dataset, list[int], int]":
    from datasets import concatenate_datasets

    trained = settings.get("dataset_train_split", "train")
    if len(split_names(split)) > 1:  # each counts from 0
        return found.remove_columns(ROW), list(range(len(found))), 0
    numbers, held_out = set(found[ROW]), []
    if split == trained and measured and (settings.get("test_share") or split_names(measured) == split_names(split)):
        rows = pick_split(splits, measured)
        held_out = [place for place, number in enumerate(rows[ROW]) if number not in numbers]
        found = concatenate_datasets([found, rows.select(held_out)]).sort(ROW)
    return found.remove_columns(ROW), list(found[ROW]), len(held_out)


def _columns(arguments: argparse.Namespace, settings: Settings, dataset: "Dataset") -> "Columns":
    from prefix_rft_trl.data.check import Columns

    names: dict[str, Any] = {}
    for kind, (contents, default, _) in COLUMNS.items():
        flag = f"{kind}_column"
        column = getattr(arguments, flag) or settings.get(flag) or default
        names[kind] = None if column == "none" and kind != "prompt" else column
        if names[kind] is not None:
            hint = "" if kind == "prompt" else f" Or check without: --{flag} none."
            check_column(dataset, column, contents, f"Name it with --{flag}.{hint}")
    if names["demonstration"] == names["prompt"]:
        raise UserError(
            f"prompts and demonstrations are both in the column '{names['prompt']}': each prompt would be trained as "
            "its own demonstration. Name another with --demonstration_column."
        )
    return Columns(**names)


def _benchmarks(sources: list[str] | None) -> dict[str, Any]:
    if sources is None:
        folder = local_folder()
        sources = [str(folder)] if folder else []
    with as_user_error(ValueError, OSError):
        return find_benchmarks(sources)


def _measure(
    arguments: argparse.Namespace, settings: Settings, calls: "ToolCallCheck | None"
) -> "TokenMeasure | None":
    model = _model_path(arguments, settings)
    if model is None:
        if arguments.max_prompt_tokens or arguments.max_completion_tokens:
            raise UserError("budgets are counted in tokens: name a model with --tokenizer, or a recipe.")
        return None
    from prefix_rft_trl.data.check.measures import TokenMeasure
    from prefix_rft_trl.sampling.generate import declared_stop_ids

    changes = settings.get("model_changes")
    try:
        tokenizer = changed_tokenizer(model, ModelChanges.read(changes)) if changes else load_tokenizer(model)
    except (ValueError, OSError) as error:
        raise UserError(f"there is no tokenizer at {model!r}: {error}") from error
    tokenizer.model_max_length = NO_WARNING_LENGTH
    template_kwargs, stop_ids = settings.get("chat_template_kwargs"), declared_stop_ids(model, tokenizer)
    if calls is not None:
        template_kwargs = calls.prepare_encoder(tokenizer, stop_ids, template_kwargs or {})
    return TokenMeasure(
        tokenizer,
        settings.get("instruction"),
        settings.get("conversational", False),
        template_kwargs,
        stop_ids,
        _longest_prefix(settings, tokenizer),
        _hint_template(settings),
        calls.encoder.count if calls and calls.encoder else None,
    )


def _hint_template(settings: Settings) -> str | None:
    from prefix_rft_trl.config import PrefixGRPOConfig

    is_in_prompt = settings.get("prefix_placement") == "prompt"
    return settings.get("prefix_hint_template", PrefixGRPOConfig.prefix_hint_template) if is_in_prompt else None


def _longest_prefix(settings: Settings, tokenizer: Any) -> "LongestPrefix":
    from prefix_rft_trl.config import PrefixGRPOConfig
    from prefix_rft_trl.rollouts import longest_prefix

    if settings.get("trainer") == "sft":
        return lambda ids, answer: ids
    names = (
        "max_completion_length",
        "num_prefix_generations",
        "prefix_placement",
        "prefix_ratio_distribution",
        "prefix_ratio_schedule",
        "prefix_ratio_high",
        "prefix_stage_ratios",
        "prefix_exclude_answer",
    )
    cut = {name: settings.get(name, getattr(PrefixGRPOConfig, name)) for name in names}
    whole = cut.pop("prefix_ratio_schedule") == "whole"
    args: Any = SimpleNamespace(**cut, gives_whole_demonstrations=whole)
    return partial(longest_prefix, args, tokenizer.eos_token_id, tokenizer.decode)


def _rows_per_step(settings: Settings) -> int | None:
    """Prompts of the smallest generation batch, that of one process; `None` for SFT."""
    from prefix_rft_trl.config import PrefixGRPOConfig

    def of(name: str) -> Any:
        return settings.get(name, getattr(PrefixGRPOConfig, name, None))

    if settings.get("trainer") == "sft":
        return None
    batch = of("per_device_train_batch_size") * (of("steps_per_generation") or of("gradient_accumulation_steps"))
    return (of("generation_batch_size") or batch) // of("num_generations")


def _budgets(arguments: argparse.Namespace, settings: Settings) -> "Budgets":
    """Room in tokens: the flags', and, of a recipe with rollouts, that of its completions and its context."""
    from prefix_rft_trl.data.check.lengths import Budgets

    completion, context = arguments.max_completion_tokens, None
    if arguments.recipe and settings.get("trainer") != "sft":
        from prefix_rft_trl.config import PrefixGRPOConfig

        completion = completion or settings.get("max_completion_length", PrefixGRPOConfig.max_completion_length)
        context = settings.get("vllm_max_model_length") or _model_context(arguments, settings)
    return Budgets(arguments.max_prompt_tokens, completion, context)


def _model_context(arguments: argparse.Namespace, settings: Settings) -> int | None:
    changes = settings.get("model_changes", {}).get("config", {})
    if "max_position_embeddings" in changes:
        return changes["max_position_embeddings"]
    model = str(_model_path(arguments, settings))
    try:
        return context_length(model)
    except (ValueError, OSError) as error:
        if arguments.tokenizer:  # a folder with nothing but a tokenizer has no context length
            return None
        raise UserError(f"there is no model at {model!r}: {error}") from error


def _model_path(arguments: argparse.Namespace, settings: Settings) -> str | None:
    return resolve_model(arguments.tokenizer or settings.get("model_name_or_path"), settings.get("lab_level", "easy"))


def _markers(arguments: argparse.Namespace, dataset: str | None, settings: Settings) -> tuple[str, ...]:
    if arguments.answer_markers:
        return tuple(arguments.answer_markers)
    rewards = settings.get("reward_funcs", ())
    return MARKERS_OF_LAB if dataset == "lab" or any(name.startswith("lab_") for name in rewards) else MARKERS


def _show(report: "Report", title: str, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from prefix_rft_trl.data.check.check_report import print_report

    print_report(report, title, arguments.examples, Console())
    if arguments.json:
        path = Path(arguments.json)
        write_atomically(
            path, json.dumps({"dataset": redacted(title), **report.to_json()}, indent=1, ensure_ascii=False)
        )
        print(f"The complete report is in {path}.")
