"""`prefix-rft eval`: evaluate models on benchmarks, and compare two of them."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS
from prefix_rft_trl.utils.errors import UserError

from .json_flags import read_dict


if TYPE_CHECKING:
    from prefix_rft_trl.evaluation.benchmark import Benchmark
    from prefix_rft_trl.evaluation.engines import Engine
    from prefix_rft_trl.evaluation.eval_benchmarks import EvalOverrides
    from prefix_rft_trl.evaluation.scores import Scores
    from prefix_rft_trl.models.sources import Source

DESCRIPTION = """\
Evaluate models on benchmarks, without any prefix: avg@n with its 95% interval over problems, pass@k for every k up to
n, majority vote, and how many answers end and state a result. Samples are written as they come: an evaluation
which was killed resumes when the same command is given again. Settings that are left open are those of the run that
made the model."""

EPILOG = """\
  prefix-rft eval --model runs/lab-prefix-rft --benchmarks lab --num_samples 64
  prefix-rft eval --model Qwen/Qwen2.5-Math-7B runs/prefix-rft \\
      --benchmarks aime24,aime25,amc,math500,minerva,olympiadbench
  prefix-rft eval --compare runs/eval/base runs/eval/lab-prefix-rft"""


def run(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        if arguments.compare:
            return _compare([Path(folder) for folder in arguments.compare])
        return _evaluate(arguments)
    except (ValueError, OSError, RuntimeError) as error:
        raise UserError(str(error)) from error
    except KeyboardInterrupt:
        print("\nStopped. The samples so far are kept: the same command resumes.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefix-rft eval",
        usage="prefix-rft eval --model MODEL [MODEL ...] --benchmarks NAME[,NAME ...] [--num_samples N] [...]\n"
        "       prefix-rft eval --compare FOLDER FOLDER",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model", nargs="+", help="folders, names on the Hub, adapters or `lab`; as NAME=MODEL to name one"
    )
    parser.add_argument("--base_model", metavar="MODEL", help="base of an adapter (the one that it names)")
    parser.add_argument(
        "--benchmarks",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}, `lab`, files (JSONL, JSON, Parquet, CSV), or datasets on the Hub",
    )
    parser.add_argument("--compare", nargs=2, metavar="FOLDER", help="two evaluated models: their paired difference")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/eval"), help="folder of the results (runs/eval)")

    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--num_samples", type=int, metavar="N", help="answers to each problem (32 for AIME and AMC, else 1)"
    )
    sampling.add_argument("--num_problems", type=int, metavar="N", help="first problems of each benchmark (all)")
    sampling.add_argument("--k", type=int, nargs="+", metavar="K", help="values of k in the table (8, 64, 512 and n)")
    sampling.add_argument("--temperature", type=float, default=1.0, help="0 for the most likely token (1.0)")
    sampling.add_argument(
        "--top_p", type=float, default=1.0, help="share of the probability that is sampled from (1.0)"
    )
    sampling.add_argument(
        "--max_new_tokens", type=int, metavar="N", help="budget of an answer (that of the run, or 8192)"
    )
    sampling.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    sampling.add_argument(
        "--batch_size", type=int, metavar="N", help="answers sampled and written together (256; with vLLM 2048)"
    )

    asking = parser.add_argument_group("problems and verifier, by default as in the run that made the model")
    asking.add_argument("--instruction", metavar="TEXT", help="put after each problem; empty for none")
    asking.add_argument("--system_prompt", metavar="TEXT", help="put in front of each problem; empty for none")
    asking.add_argument(
        "--conversational", action=argparse.BooleanOptionalAction, help="whether to make a problem a user's message"
    )
    asking.add_argument(
        "--chat_template_kwargs",
        type=partial(read_dict, "chat_template_kwargs"),
        metavar="JSON",
        help="further arguments of the template",
    )
    asking.add_argument("--reward", metavar="NAME", help="registered name or dotted path of the verifier")
    asking.add_argument(
        "--reward_kwargs", type=partial(read_dict, "reward_kwargs"), metavar="JSON", help="its arguments"
    )
    asking.add_argument("--lab_level", metavar="LEVEL", help="level of the lab's problems: easy or hard")
    asking.add_argument(
        "--prompt_column", metavar="NAME", help="column of a file or dataset (problem, question or prompt)"
    )
    asking.add_argument("--answer_column", metavar="NAME", help="(answer, final_answer or solution)")
    asking.add_argument("--dataset_config", metavar="NAME", help="configuration of a dataset on the Hub")
    asking.add_argument("--dataset_split", metavar="NAME", help="split of a dataset (test, or the first)")

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
    return parser


def _evaluate(arguments: argparse.Namespace) -> int:
    if not arguments.model or not arguments.benchmarks:
        raise UserError("--model and --benchmarks say what to evaluate, or --compare which results to compare.")
    from prefix_rft_trl.evaluation.evaluate import evaluate
    from prefix_rft_trl.models.sources import find_models

    arguments.lab_level = arguments.lab_level or _lab_level(arguments.model)
    engine = _engine(arguments)
    engine.check_gpus()
    overrides = _overrides(arguments, engine)
    sources = find_models(arguments.model, arguments.base_model, arguments.lab_level)
    prepared = {source.name: _prepare(source, arguments.benchmarks, overrides, engine) for source in sources}
    ks = _values_of_k(arguments.k, [benchmark for benchmarks, _ in prepared.values() for benchmark in benchmarks])
    folder: Path = arguments.output_dir
    evaluated = {source.name: evaluate(source, *prepared[source.name], folder) for source in sources}
    _show(evaluated, ks, folder)
    return 0


def _lab_level(models: list[str]) -> str:
    """The level of the lab's task that the runs were trained on; the lab's base model is asked the same."""
    from prefix_rft_trl.run.settings import settings_of_run

    runs = [settings_of_run(model if Path(model).exists() else model.partition("=")[2]) for model in models]
    levels = {run.lab_level or "easy" for run in runs if run is not None}
    if len(levels) > 1:
        raise UserError("the models were trained on different levels of the lab. Set the level to ask: --lab_level.")
    return next(iter(levels), "easy")


def _engine(arguments: argparse.Namespace) -> "Engine":
    from dataclasses import fields

    from prefix_rft_trl.evaluation.engines import Engine

    return Engine(**{field.name: getattr(arguments, field.name) for field in fields(Engine)})


def _overrides(arguments: argparse.Namespace, engine: "Engine") -> "EvalOverrides":
    from dataclasses import fields

    from prefix_rft_trl.evaluation.eval_benchmarks import EvalOverrides
    from prefix_rft_trl.evaluation.sampling import Sampling

    given = vars(arguments)
    if given["batch_size"] is None:  # vLLM fills its own batches, and waits for the last answer of a chunk
        given["batch_size"] = 2048 if engine.uses_vllm else 256
    sampling = Sampling(
        **{field.name: given[field.name] for field in fields(Sampling) if given[field.name] is not None}
    )
    names = {field.name for field in fields(EvalOverrides)} & given.keys()
    return EvalOverrides(**{name: given[name] for name in names}, sampling=sampling)


def _prepare(
    source: "Source", names: list[str], overrides: "EvalOverrides", engine: "Engine"
) -> tuple[list["Benchmark"], "Engine"]:
    """The benchmarks of a model and what runs it, with all that can be wrong reported before it is loaded."""
    from prefix_rft_trl.evaluation.engines import fit_budgets, load_tokenizer
    from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
    from prefix_rft_trl.run.settings import settings_of_run

    found = find_benchmarks(names, overrides, settings_of_run(source.path), load_tokenizer(source))
    is_given = overrides.max_new_tokens is not None
    fitting, needed = fit_budgets(found, engine.context_length(source), is_given, _report)
    for benchmark in fitting:
        sampling = benchmark.sampling
        _report(
            f"{source.name}, {benchmark.name}: {len(benchmark.rows)} problems x {sampling.num_samples} answers of at "
            f"most {sampling.max_new_tokens} tokens, verified by {benchmark.verifier}"
        )
    return fitting, engine.with_room_for(needed)


def _report(sentence: str) -> None:
    print(sentence, file=sys.stderr)


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
    from prefix_rft_trl.evaluation.eval_report import draw_pass_at_k, scores_table
    from prefix_rft_trl.evaluation.evaluate import differing_settings
    from prefix_rft_trl.utils.files import write_whole

    results = {
        model: {benchmark: scores.as_json() for benchmark, scores in by_benchmark.items()}
        for model, by_benchmark in evaluated.items()
    }
    write_whole(folder / "results.json", json.dumps(results) + "\n")
    draw_pass_at_k(evaluated, folder / "pass_at_k.png")
    _print(scores_table(evaluated, ks))
    for benchmark in dict.fromkeys(name for by_benchmark in evaluated.values() for name in by_benchmark):
        _warn(benchmark, differing_settings(folder / model / benchmark for model in evaluated))
    print(f"The results are in {folder}: results.json, pass_at_k.png, and the samples of each model as Parquet.")


def _compare(folders: list[Path]) -> int:
    from prefix_rft_trl.evaluation.eval_report import differences, differences_table

    names = [folder.resolve().name for folder in folders]
    found = differences(folders[0], folders[1])
    _print(differences_table(names[0], names[1], found))
    for one in found:
        _warn(one.benchmark, one.differing_settings)
    print("Positive: the second is better. 95% intervals of the mean difference over problems.")
    return 0


def _warn(benchmark: str, differing: list[str]) -> None:
    if differing:
        print(f"Not asked alike on {benchmark}: {'; '.join(differing)}.")


def _print(table: Any) -> None:
    """Prints a table at its full width, also in a narrower terminal, where rich would cut its cells off."""
    from rich.console import Console

    console, wide = Console(), Console(width=1000)
    console.width = max(console.width, wide.measure(table).maximum)
    console.print(table)
