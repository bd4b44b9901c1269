"""`prefix-rft data sample`: make demonstrations where nobody has any, from a model's own answers."""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.convert.output import check_suffix
from prefix_rft_trl.data.data_files import check_source
from prefix_rft_trl.evaluation.rejection.selection import Selection
from prefix_rft_trl.evaluation.sampling import EvalOverrides, Sampling
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import check_writable
from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.tables import print_sentence, print_table

from .data_check import settings_for_check
from .flags import command_parser
from .launch.agents import refuse_tools_of_recipe
from .launch.recipe import load_recipe
from .sampling_flags import add_engine, add_settings, read_engine, read_overrides


if TYPE_CHECKING:
    from prefix_rft_trl.evaluation.engines import Engine
    from prefix_rft_trl.evaluation.rejection.making import Made
    from prefix_rft_trl.evaluation.rejection.problems import Problems
    from prefix_rft_trl.models.sources import ModelSource

DESCRIPTION = """\
Make demonstrations where nobody has any: sample answers of a model to the problems of a dataset, keep those that the
reward accepts, and write them as the columns prompt, completion and solution, with all others that the dataset has.
Reports what was solved. Samples are written as they come: a command which was killed resumes when it is given again.
Settings that are left open are those of the recipe, or else of the run that made the model."""

USAGE = """\
prefix-rft data sample --model MODEL --dataset NAME --output FILE [...]
       prefix-rft data sample --recipe RECIPE.yaml --output FILE [...]"""

EPILOG = """\
  prefix-rft data sample --model lab --dataset lab --output data/own.parquet
  prefix-rft data sample --recipe recipes/gsm8k/prefix_rft.yaml \\
      --num_samples 16 --keep 4 --order most_likely --output data/own.parquet

With --keep 1 a completion is text, or a message where prompts are messages:
this package and `trl sft` read it. With more, if some problem has several, all
rows have a list of them, which `trl sft` does not read."""

DEFAULT_SAMPLES = 8
ASKED = ("instruction", "system_prompt", "conversational")


def run(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        with as_user_error(ValueError):
            return _sample(arguments)
    except KeyboardInterrupt:
        print("\nStopped. The samples so far are kept: the same command resumes.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("data sample", DESCRIPTION, USAGE, EPILOG)
    parser.add_argument("--model", help="folder, name on the Hub, adapter or `lab` (the recipe's)")
    parser.add_argument("--base_model", metavar="MODEL", help="base of an adapter (the one that it names)")
    datasets = "a name on the Hub, a file or folder, `lab`, or `reasoning_gym/<task>` (the recipe's)"
    parser.add_argument("--dataset", metavar="NAME", help=datasets)
    parser.add_argument("--recipe", metavar="RECIPE.yaml", help="a recipe of `prefix-rft train`")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a .parquet or .jsonl file")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")

    demonstrations = parser.add_argument_group("demonstrations")
    add_settings(demonstrations, Selection, leave_out={"all"})
    unsolved = "also write problems without an accepted answer: they train as in plain GRPO"
    demonstrations.add_argument("--all", action="store_true", help=unsolved)
    sampling = parser.add_argument_group("sampling")
    defaults = {"num_samples": f"{DEFAULT_SAMPLES}", "max_new_tokens": "the recipe's or the run's, or 8192"}
    add_settings(sampling, Sampling, defaults | {"batch_size": "256; with vLLM 2048"})
    asking = parser.add_argument_group("problems and reward, by default as in the recipe or the run")
    texts = {
        "num_problems": "number of problems, from the first; defaults to all",
        "prompt_column": "column of the problems",
        "answer_column": "column of the right answers",
        "dataset_split": "split of the dataset, or a slice as train[:240] (train)",
    }
    add_settings(asking, EvalOverrides, leave_out={"sampling", "test_share", "test_seed", *texts, *defaults})
    for name, text in texts.items():
        asking.add_argument(f"--{name}", metavar="VALUE", type=int if name == "num_problems" else str, help=text)
    add_engine(parser)
    return parser


def _sample(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    check_suffix(output)
    given = {field.name: getattr(arguments, field.name) for field in fields(Selection)}
    selection = Selection(**{name: value for name, value in given.items() if value is not None})
    recipe = settings_for_check(load_recipe(arguments.recipe)) if arguments.recipe else {}
    refuse_tools_of_recipe(recipe, "prefix-rft data sample")
    name = arguments.dataset or recipe.get("dataset_name")
    if name is None:
        raise UserError("no dataset: name one with --dataset, or a recipe with `dataset_name` (--recipe FILE).")
    check_source(name, is_streaming=True)  # before the imports, which take seconds
    if output.exists() and Path(name).expanduser().exists() and output.samefile(Path(name).expanduser()):
        raise UserError(f"the output is the dataset, {str(output)!r}. Name another file.")
    check_writable(output)
    if arguments.num_samples is None:
        arguments.num_samples = 1 if arguments.temperature == 0 else DEFAULT_SAMPLES
    if selection.keep > arguments.num_samples:
        raise UserError(
            f"`--keep {selection.keep}` is more than the {arguments.num_samples} answers to a problem. Lower it, or "
            "raise `--num_samples`."
        )
    with quick_imports(freeze=True):
        from prefix_rft_trl.evaluation.rejection.making import make_demonstrations

    source, problems, engine = _prepare(arguments, recipe, name)
    made = make_demonstrations(source, problems, engine, selection, output, arguments.overwrite, _report)
    _show(made, problems, recipe, output, selection.min_reward)
    return 0 if made.rows else 1


def _prepare(
    arguments: argparse.Namespace, recipe: dict[str, Any], name: str
) -> "tuple[ModelSource, Problems, Engine]":
    """The model, the problems and the engine, with all that can be wrong reported before the model is loaded."""
    from prefix_rft_trl.evaluation.asked_alike import reward_label
    from prefix_rft_trl.evaluation.engines import fit_budgets
    from prefix_rft_trl.evaluation.rejection.problems import find_problems
    from prefix_rft_trl.models.changes import starting_model
    from prefix_rft_trl.models.sources import find_models, load_tokenizer
    from prefix_rft_trl.run.settings import settings_of_run

    engine = read_engine(arguments)
    model = arguments.model or recipe.get("model_name_or_path")
    if not model:
        raise UserError("no model: name one with --model, or a recipe with `model_name_or_path` (--recipe FILE).")
    run = settings_of_run(model)
    level = arguments.lab_level or recipe.get("lab_level") or (run and run.lab_level) or "easy"
    arguments.lab_level = level
    if not arguments.model:
        model = starting_model(model, level, recipe.get("model_changes"), recipe.get("model_revision"))
    (source,) = find_models([model], arguments.base_model, level)
    source.check_files()
    tokenizer = load_tokenizer(source.tokenizer_path)
    problems = find_problems(name, read_overrides(arguments, engine), recipe, run, tokenizer, _report)
    is_given = arguments.max_new_tokens is not None
    (asked,), needed = fit_budgets([problems.asked], engine.context_length(source), is_given, _report)
    _report(
        f"{source.name}, {asked.name}: {len(asked.rows)} problems x {asked.sampling.num_samples} answers of at most "
        f"{asked.sampling.max_new_tokens} tokens, accepted by {reward_label(asked.verifier, asked.reward.__module__)}"
    )
    return source, replace(problems, asked=asked), engine.with_room_for(needed)


def _report(sentence: str) -> None:
    print_sentence(sentence, sys.stderr)


def _show(made: "Made", problems: "Problems", recipe: dict[str, Any], output: Path, min_reward: float) -> None:
    from prefix_rft_trl.evaluation.rejection.making import samples_folder
    from prefix_rft_trl.evaluation.rejection.solved_report import advice_on_none, solved_tables

    sampling = problems.asked.sampling
    for table in solved_tables(made.figures, sampling.max_new_tokens):
        print_table(table)
    folder = samples_folder(output)
    if not made.rows:
        _report(
            f"prefix-rft data sample: none of {made.figures['answers']:,} answers was accepted, so nothing was "
            f"written. {advice_on_none(made.figures, min_reward)}; {folder} has the samples."
        )
        return
    if made.example is not None:
        print_row(made.example)
    rows = f"{made.rows:,} rows are in {output}, and the report and all samples in {folder}."
    say = [f"Nothing was left to do: the {rows}" if made.was_there else f"The {rows}", *_advice(problems, recipe)]
    for sentence in say:
        print_sentence(sentence, sys.stdout)


def print_row(row: dict[str, Any]) -> None:
    from rich.console import Console

    from prefix_rft_trl.data.convert.conversion_report import WIDTH_WITHOUT_TERMINAL, row_table

    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False)
    console.print("A row as it is written:")
    console.print(row_table(row))


def _advice(problems: "Problems", recipe: dict[str, Any]) -> "list[str]":
    """With what settings a training has the same prompts, and reads these demonstrations."""
    asked = problems.asked.prompting
    settings = {name: asked[name] for name in ASKED if asked[name] and not recipe}
    if recipe.get("demonstration_column", "completion") != "completion":
        settings["demonstration_column"] = "completion"
    if not settings:
        return []
    listed = (f"`{name}: {'true' if value is True else value}`" for name, value in settings.items())
    return [f"Train on them with {', '.join(listed)}."]
