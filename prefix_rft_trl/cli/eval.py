"""`prefix-rft eval`: evaluate models on benchmarks, and compare two of them."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS
from prefix_rft_trl.evaluation.sampling import EvalOverrides, Sampling
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import check_writable_folder
from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.tables import print_sentence, print_table

from .flags import command_parser
from .sampling_flags import add_engine, add_settings, read_engine, read_overrides


if TYPE_CHECKING:
    from prefix_rft_trl.evaluation.benchmark import Benchmark
    from prefix_rft_trl.evaluation.engines import Engine
    from prefix_rft_trl.evaluation.scores import Scores
    from prefix_rft_trl.models.sources import ModelSource

DESCRIPTION = """\
Evaluate models on benchmarks, without any prefix: avg@n with its 95% interval over problems, pass@k for every k up to
n, majority vote, and how many answers end and state a result. Samples are written as they come: an evaluation
which was killed resumes when the same command is given again. Settings that are left open are those of the run that
made the model."""

USAGE = """\
prefix-rft eval --model MODEL [MODEL ...] --benchmarks NAME[,NAME ...]
                       [--num_samples N] [...]
       prefix-rft eval --compare FOLDER FOLDER"""

EPILOG = """\
  prefix-rft eval --model runs/lab-prefix-rft --benchmarks lab --num_samples 64
  prefix-rft eval --model Qwen/Qwen2.5-Math-7B runs/prefix-rft \\
      --benchmarks aime24,aime25,amc,math500,minerva,olympiadbench
  prefix-rft eval --compare runs/eval/base runs/eval/lab-prefix-rft"""


def run(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        with as_user_error(ValueError):
            if arguments.compare:
                return _compare([Path(folder) for folder in arguments.compare])
            return _evaluate(arguments)
    except KeyboardInterrupt:
        print("\nStopped. The samples so far are kept: the same command resumes.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("eval", DESCRIPTION, USAGE, EPILOG)
    parser.add_argument(
        "--model", nargs="+", help="folders, names on the Hub, adapters or `lab`; as NAME=MODEL to name one"
    )
    parser.add_argument("--base_model", metavar="MODEL", help="base of an adapter (the one that it names)")
    parser.add_argument(
        "--benchmarks",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}, `lab`, files (JSONL, JSON, Parquet, CSV, TSV), or datasets on the Hub",
    )
    parser.add_argument("--compare", nargs=2, metavar="FOLDER", help="two evaluated models: their paired difference")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/eval"), help="folder of the results (runs/eval)")

    sampling = parser.add_argument_group("sampling")
    defaults = {"num_samples": "32 for AIME and AMC, else 1", "max_new_tokens": "the run's, or 8192"}
    add_settings(sampling, Sampling, defaults | {"batch_size": "256; with vLLM 2048"})
    sampling.add_argument("--k", type=int, nargs="+", metavar="K", help="values of k in the table (8, 64, 512 and n)")
    asking = parser.add_argument_group("problems and verifier, by default as in the run that made the model")
    add_settings(asking, EvalOverrides, leave_out={"sampling", *defaults})

    add_engine(parser)
    return parser


def _evaluate(arguments: argparse.Namespace) -> int:
    if not arguments.model or not arguments.benchmarks:
        raise UserError("--model and --benchmarks say what to evaluate, or --compare which results to compare.")
    with quick_imports(freeze=True):
        from prefix_rft_trl.evaluation.evaluate import evaluate
        from prefix_rft_trl.models.sources import find_models

    arguments.lab_level = arguments.lab_level or _lab_level(arguments.model)
    engine = read_engine(arguments)
    overrides = read_overrides(arguments, engine)
    sources = find_models(arguments.model, arguments.base_model, arguments.lab_level)
    check_writable_folder(arguments.output_dir)
    prepared = {source.name: _prepare(source, arguments.benchmarks, overrides, engine) for source in sources}
    _check_asked_alike(prepared)
    ks = _values_of_k(arguments.k, [benchmark for benchmarks, _ in prepared.values() for benchmark in benchmarks])
    folder: Path = arguments.output_dir
    evaluated = {source.name: evaluate(source, *prepared[source.name], folder) for source in sources}
    _show(evaluated, ks, folder)
    return 0


def _lab_level(models: list[str]) -> str:
    """The level of the lab's task that the runs were trained on; the lab's base model is evaluated on the same."""
    from prefix_rft_trl.run.settings import settings_of_run

    runs = [settings_of_run(model if Path(model).exists() else model.partition("=")[2]) for model in models]
    levels = {run.lab_level or "easy" for run in runs if run is not None}
    if len(levels) > 1:
        raise UserError("the models were trained on different levels of the lab. Set the level to ask: --lab_level.")
    return next(iter(levels), "easy")


def _prepare(
    source: "ModelSource", names: list[str], overrides: EvalOverrides, engine: "Engine"
) -> tuple[list["Benchmark"], "Engine"]:
    """The benchmarks of a model and what runs it, with all that can be wrong reported before it is loaded."""
    from prefix_rft_trl.evaluation.asked_alike import reward_label
    from prefix_rft_trl.evaluation.engines import fit_budgets
    from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
    from prefix_rft_trl.models.sources import load_tokenizer
    from prefix_rft_trl.run.settings import settings_of_run

    source.check_files()
    run = settings_of_run(source.path)
    if run is not None and run.calls_tools:
        raise UserError(
            f"the run in {source.path} was trained with tools, and `prefix-rft eval` calls no tools. Accuracy with "
            "them is in its curve.jsonl: train it with `measure_steps`."
        )
    found = find_benchmarks(names, overrides, run, load_tokenizer(source.tokenizer_path))
    is_given = overrides.max_new_tokens is not None
    fitting, needed = fit_budgets(found, engine.context_length(source), is_given, _report)
    for benchmark in fitting:
        sampling = benchmark.sampling
        _report(
            f"{source.name}, {benchmark.name}: {len(benchmark.rows)} problems x {sampling.num_samples} answers of at "
            f"most {sampling.max_new_tokens} tokens, verified by "
            f"{reward_label(benchmark.verifier, benchmark.reward.__module__)}"
        )
    return fitting, engine.with_room_for(needed)


def _check_asked_alike(prepared: dict[str, tuple[list["Benchmark"], "Engine"]]) -> None:
    from prefix_rft_trl.evaluation.asked_alike import check_asked_alike
    from prefix_rft_trl.evaluation.evaluate import shared_settings

    settings: dict[str, dict[str, Any]] = {}
    for model, (benchmarks, engine) in prepared.items():
        for benchmark in benchmarks:
            settings.setdefault(benchmark.name, {})[model] = shared_settings(benchmark, engine)
    for name, by_model in settings.items():
        check_asked_alike(name, by_model)


def _report(sentence: str) -> None:
    print_sentence(sentence, sys.stderr)


def _values_of_k(given: list[int] | None, benchmarks: list["Benchmark"]) -> list[int]:
    if given is None:
        most = [benchmark.sampling.num_samples for benchmark in benchmarks]
        return sorted({k for k in (*most, *(k for k in (8, 64, 512) if k < max(most))) if k > 1})
    for benchmark in benchmarks:
        number = benchmark.sampling.num_samples
        wrong = [k for k in given if not 1 <= k <= number]
        if wrong:
            raise UserError(
                f"pass@{wrong[0]} takes {wrong[0]} samples of a problem, and {benchmark.name} has {number}. Raise "
                "`--num_samples`, or leave out that k."
            )
    return sorted(set(given))


def _show(evaluated: dict[str, dict[str, "Scores"]], ks: list[int], folder: Path) -> None:
    from prefix_rft_trl.evaluation.eval_report import draw_pass_at_k, notes_on_scores, scores_table
    from prefix_rft_trl.utils.files import write_atomically

    results = {
        model: {benchmark: scores.as_json() for benchmark, scores in by_benchmark.items()}
        for model, by_benchmark in evaluated.items()
    }
    write_atomically(folder / "results.json", json.dumps(results, allow_nan=False) + "\n")
    draw_pass_at_k(evaluated, folder / "pass_at_k.png")
    print_table(scores_table(evaluated, ks))
    for note in notes_on_scores(evaluated, ks):
        print_sentence(note, sys.stdout)
    print_sentence(
        f"The results are in {folder}: results.json, pass_at_k.png, and the samples of each model as Parquet.",
        sys.stdout,
    )


def _compare(folders: list[Path]) -> int:
    from prefix_rft_trl.evaluation.eval_report import differences, differences_table

    names = [folder.resolve().name for folder in folders]
    if names[0] == names[1]:
        names = [str(folder) for folder in folders]
    found = differences(folders[0], folders[1])
    print_table(differences_table(names[0], names[1], found))
    for note in (note for one in found for note in one.notes):
        print_sentence(note, sys.stdout)
    has_interval = any(one.means and one.means[2].half_width for one in found)
    meaning = " 95% intervals of the mean difference over problems." if has_interval else ""
    print_sentence(f"Positive: the second is better.{meaning}", sys.stdout)
    return 0
