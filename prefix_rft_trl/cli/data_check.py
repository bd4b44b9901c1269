"""`prefix-rft data check`: what is wrong with a dataset, row by row, before a run finds out."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS, find_benchmarks, local_folder
from prefix_rft_trl.data.loading import load_splits, pick_split
from prefix_rft_trl.models.changes import ModelChanges, changed_tokenizer
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.utils.errors import UserError

from .launch.recipe import load_recipe


if TYPE_CHECKING:
    from datasets import Dataset

    from prefix_rft_trl.data.check import Columns, Report
    from prefix_rft_trl.data.check.lengths import Budgets, Tokens
    from prefix_rft_trl.data.check.recipe_settings import RecipeSettings

DESCRIPTION = """\
Check a dataset before a run finds out: rows without a demonstration, gold answers that do not parse, demonstrations
that end in another answer, duplicates, problems of the evaluation benchmarks, tokens of chat templates inside texts,
and rows that do not fit. The exit code is 0 if it is clean, 1 if it has problems, 2 if it cannot be used."""

EPILOG = """\
  prefix-rft data check train.parquet --benchmarks math500 aime25
  prefix-rft data check --recipe recipes/gsm8k/prefix_rft.yaml
  prefix-rft data check openai/gsm8k --config main --prompt_column question --demonstration_column answer \\
      --answer_column answer

With a recipe the dataset, its columns, the tokenizer and the budgets are the recipe's; a flag comes before it."""

MARKERS_OF_LAB = ("#",)


def run(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    from prefix_rft_trl.data.check import check_dataset
    from prefix_rft_trl.data.check.recipe_settings import recipe_settings

    recipe = recipe_settings(load_recipe(Path(arguments.recipe)) if arguments.recipe else {})
    name = arguments.dataset or recipe.dataset_name
    split = arguments.split or recipe.dataset_train_split or "train"
    dataset = _load(name, arguments.config or recipe.dataset_config, split, recipe)
    columns = _columns(arguments, recipe, dataset)
    benchmarks = _benchmarks(arguments.benchmarks)
    measure = _measure(arguments, recipe)
    budgets = _budgets(arguments, recipe, measure)

    from prefix_rft_trl.rewards.verification.verifier import Verifier

    with Verifier(arguments.num_workers) as verifier:
        report = check_dataset(
            dataset, columns, verifier, benchmarks, measure, budgets, _markers(arguments, name, recipe)
        )
    _show(report, f"{name}, split {split}", arguments)
    return report.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefix-rft data check",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "dataset",
        nargs="?",
        help="a name on the Hub, a local JSONL, JSON, Parquet or CSV file, `lab`, or `reasoning_gym/<task>`",
    )
    parser.add_argument("--recipe", metavar="RECIPE.yaml", help="a recipe of `prefix-rft train`")
    parser.add_argument("--config", metavar="NAME", help="configuration of a dataset on the Hub")
    parser.add_argument("--split", metavar="NAME", help="split to check (train)")
    parser.add_argument("--prompt_column", metavar="NAME", help="column of the prompts (prompt)")
    parser.add_argument(
        "--demonstration_column",
        metavar="NAME",
        help="column of the demonstrations (completion), or `none` for plain GRPO",
    )
    parser.add_argument(
        "--answer_column",
        metavar="NAME",
        help="column of the gold answers (solution), or `none` if the reward needs none",
    )
    parser.add_argument(
        "--answer_markers",
        nargs="+",
        metavar="MARKER",
        help=f"what a final answer stands behind where there is no box ({', '.join(MARKERS)})",
    )
    parser.add_argument(
        "--benchmarks",
        nargs="*",
        metavar="NAME",
        help="benchmarks that the dataset must not hold: JSONL files, folders of them, or of "
        f"{', '.join(BENCHMARKS)}; alone for none (the files in $PREFIX_RFT_DATA/math_benchmarks, if there are)",
    )
    parser.add_argument("--tokenizer", metavar="PATH", help="a model whose tokens lengths are counted in")
    parser.add_argument("--max_prompt_tokens", type=int, metavar="N", help="longest prompt that fits")
    parser.add_argument("--max_completion_tokens", type=int, metavar="N", help="longest demonstration that fits")
    parser.add_argument("--num_workers", type=int, metavar="N", help="processes that verify answers (one a core)")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="rows to show of each kind (3)")
    parser.add_argument("--json", metavar="FILE", help="write the whole report, with all row numbers")
    return parser


def _load(name: str | None, config: str | None, split: str, recipe: "RecipeSettings") -> "Dataset":
    if name is None:
        raise UserError(
            "no dataset: name one before all flags, or a recipe with `dataset_name` (--recipe RECIPE.yaml)."
        )
    from datasets.exceptions import DatasetsError

    try:
        splits = load_splits(name, config, lab_settings=recipe.lab, gym_settings=recipe.reasoning_gym)
    except StopIteration:
        raise UserError(f"the dataset {name!r} has no rows.") from None
    except (ValueError, OSError, DatasetsError) as error:
        raise UserError(f"the dataset {name!r} cannot be opened: {error.__cause__ or error}") from error
    dataset = pick_split(splits, split)
    if len(dataset) == 0:
        raise UserError(f"the dataset {name!r} has no rows in its split '{split}'.")
    return dataset


def _columns(arguments: argparse.Namespace, recipe: "RecipeSettings", dataset: "Dataset") -> "Columns":
    from prefix_rft_trl.data.check import Columns

    demonstration = arguments.demonstration_column or recipe.demonstration_column or Columns.demonstration
    answer = arguments.answer_column or recipe.answer_column or Columns.answer
    columns = Columns(
        arguments.prompt_column or recipe.prompt_column or Columns.prompt,
        None if demonstration == "none" else demonstration,
        None if answer == "none" else answer,
    )
    held = {"prompt": "prompts", "demonstration": "demonstrations", "answer": "gold answers"}
    for kind, holds in held.items():
        column = getattr(columns, kind)
        if column is not None and column not in dataset.column_names:
            hint = "" if kind == "prompt" else " With `none` for its name the check does without."
            raise UserError(
                f"the dataset has no column '{column}' for the {holds}; its columns are: "
                f"{', '.join(dataset.column_names)}. Name it with --{kind}_column.{hint}"
            )
    return columns


def _benchmarks(sources: list[str] | None) -> dict[str, Any]:
    if sources is None:
        folder = local_folder()
        sources = [str(folder)] if folder else []
    try:
        return find_benchmarks(sources)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _measure(arguments: argparse.Namespace, recipe: "RecipeSettings") -> "Tokens | None":
    path = arguments.tokenizer or recipe.model_name_or_path
    if path is None:
        if arguments.max_prompt_tokens or arguments.max_completion_tokens:
            raise UserError("budgets are counted in tokens: name a model with --tokenizer, or a recipe.")
        return None
    from prefix_rft_trl.data.check.lengths import Tokens
    from prefix_rft_trl.data.convert.selection import NO_WARNING_LENGTH, load_tokenizer

    model = _model_path(path, recipe)
    try:
        if recipe.model_changes and not arguments.tokenizer:
            tokenizer = changed_tokenizer(model, ModelChanges.read(recipe.model_changes))
        else:
            tokenizer = load_tokenizer(model)
    except (ValueError, OSError) as error:
        raise UserError(f"there is no tokenizer at {path!r}: {error}") from error
    tokenizer.model_max_length = NO_WARNING_LENGTH
    return Tokens(tokenizer, recipe.instruction, recipe.conversational, recipe.chat_template_kwargs)


def _budgets(arguments: argparse.Namespace, recipe: "RecipeSettings", measure: "Tokens | None") -> "Budgets":
    from prefix_rft_trl.data.check.lengths import Budgets

    completion, context = arguments.max_completion_tokens, None
    if arguments.recipe and recipe.rolls_out and measure is not None:
        completion = completion or recipe.max_completion_length or _default_max_completion_length()
        context = recipe.vllm_max_model_length or _context_of_model(arguments, recipe)
    return Budgets(arguments.max_prompt_tokens, completion, context)


def _default_max_completion_length() -> int | None:
    from prefix_rft_trl.config import PrefixGRPOConfig

    return PrefixGRPOConfig.max_completion_length


def _context_of_model(arguments: argparse.Namespace, recipe: "RecipeSettings") -> int | None:
    if "max_position_embeddings" in recipe.model_changes.get("config", {}) and not arguments.tokenizer:
        return recipe.model_changes["config"]["max_position_embeddings"]
    path = arguments.tokenizer or recipe.model_name_or_path
    assert path is not None  # lengths are measured with it
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(_model_path(path, recipe))
    except (ValueError, OSError) as error:
        if arguments.tokenizer:  # a folder of a tokenizer alone says nothing of positions
            return None
        raise UserError(f"there is no model at {path!r}: {error}") from error
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _model_path(path: str, recipe: "RecipeSettings") -> str:
    if path != "lab":
        return path
    from prefix_rft_trl import lab

    return lab.base_model_path(recipe.lab.get("level", "easy"))


def _markers(arguments: argparse.Namespace, dataset: str | None, recipe: "RecipeSettings") -> tuple[str, ...]:
    if arguments.answer_markers:
        return tuple(arguments.answer_markers)
    is_of_lab = dataset == "lab" or any(name.startswith("lab_") for name in recipe.reward_funcs)
    return MARKERS_OF_LAB if is_of_lab else MARKERS


def _show(report: "Report", title: str, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from prefix_rft_trl.data.check.check_report import print_report

    print_report(report, title, arguments.examples, Console())
    if arguments.json:
        path = Path(arguments.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"dataset": title, **report.to_json()}, indent=1, ensure_ascii=False), "utf-8")
        print(f"The whole report is in {path}.")
