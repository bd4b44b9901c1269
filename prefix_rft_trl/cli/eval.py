"""`prefix-rft eval`: from a checkpoint to the table."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import BENCHMARKS
from prefix_rft_trl.utils.errors import UserError


if TYPE_CHECKING:
    from prefix_rft_trl.evaluation.benchmark import Benchmark
    from prefix_rft_trl.evaluation.engines import Engine
    from prefix_rft_trl.evaluation.sampling import Asking
    from prefix_rft_trl.evaluation.scores import Figures
    from prefix_rft_trl.models.sources import ModelSource

DESCRIPTION = """\
Evaluate models on benchmarks, without any prefix: avg@n with its 95% interval over problems, pass@k for every k up to
n, majority vote, and how many answers end and state a result. Samples are written as they come, so that an evaluation
which was killed goes on when the same command is given again. What is left open is as in the run that has made the
model."""

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
        print("\nStopped. What has been sampled is kept: the same command goes on.", file=sys.stderr)
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
    parser.add_argument("--base_model", metavar="MODEL", help="of an adapter (the one that it names)")
    parser.add_argument(
        "--benchmarks",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)}, `lab`, files (JSONL, JSON, Parquet, CSV), or datasets on the Hub",
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
    sampling.add_argument("--seed", type=int, default=0, help="of all random numbers (0)")
    sampling.add_argument(
        "--batch_size", type=int, metavar="N", help="answers sampled and written together (256; with vLLM 2048)"
    )

    asking = parser.add_argument_group("problems and verifier, by default as in the run that has made the model")
    asking.add_argument("--instruction", metavar="TEXT", help="put after each problem; empty for none")
    asking.add_argument(
        "--conversational", action=argparse.BooleanOptionalAction, help="whether to make a problem a user's message"
    )
    asking.add_argument(
        "--chat_template_kwargs", type=_dictionary, metavar="JSON", help="further arguments of the template"
    )
    asking.add_argument("--reward", metavar="NAME", help="registered name or dotted path of what tells right answers")
    asking.add_argument("--reward_kwargs", type=_dictionary, metavar="JSON", help="its arguments")
    asking.add_argument("--lab_level", metavar="LEVEL", help="of the lab's problems: easy or hard")
    asking.add_argument("--prompt_column", metavar="NAME", help="of a file or dataset (problem, question or prompt)")
    asking.add_argument("--answer_column", metavar="NAME", help="(answer, final_answer or solution)")
    asking.add_argument("--dataset_config", metavar="NAME", help="configuration of a dataset on the Hub")
    asking.add_argument("--dataset_split", metavar="NAME", help="split of a dataset (test, or the first)")

    engine = parser.add_argument_group("engine")
    engine.add_argument("--backend", choices=("vllm", "transformers"), help="(vllm where it is installed)")
    engine.add_argument("--dtype", help="of the weights (float32 on a CPU, auto on a GPU)")
    engine.add_argument("--tensor_parallel_size", type=int, default=1, metavar="N", help="GPUs that share a model (1)")
    engine.add_argument(
        "--data_parallel_size", type=int, default=1, metavar="N", help="processes that share the samples (1)"
    )
    engine.add_argument(
        "--vllm_kwargs", type=_dictionary, default={}, metavar="JSON", help="further arguments of vLLM's LLM"
    )
    return parser


def _dictionary(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"it takes a JSON object, such as '{{\"name\": 1}}', found {text!r}")
    return value


def _evaluate(arguments: argparse.Namespace) -> int:
    if not arguments.model or not arguments.benchmarks:
        raise UserError("--model and --benchmarks say what to evaluate, or --compare which results to compare.")
    from prefix_rft_trl.evaluation.evaluate import evaluate
    from prefix_rft_trl.models.sources import find_models

    arguments.lab_level = arguments.lab_level or _lab_level(arguments.model)
    engine = _engine(arguments)
    asking = _asking(arguments, engine)
    sources = find_models(arguments.model, arguments.base_model, arguments.lab_level)
    prepared = {source.name: _prepared(source, arguments.benchmarks, asking, engine) for source in sources}
    ks = _values_of_k(arguments.k, [benchmark for benchmarks, _ in prepared.values() for benchmark in benchmarks])
    folder: Path = arguments.output_dir
    evaluated = {source.name: evaluate(source, *prepared[source.name], folder) for source in sources}
    _show(evaluated, ks, folder)
    return 0


def _lab_level(models: list[str]) -> str:
    """The level of the lab's task that the runs were trained on, which the base model then has as well."""
    from prefix_rft_trl.run.settings import settings_of_run

    runs = [settings_of_run(model if Path(model).exists() else model.partition("=")[2]) for model in models]
    levels = {run.lab_level for run in runs if run is not None}
    if len(levels) > 1:
        raise UserError("the models were trained on different levels of the lab. Say which is asked: --lab_level.")
    return next(iter(levels), "easy")


def _asking(arguments: argparse.Namespace, engine: "Engine") -> "Asking":
    from dataclasses import fields

    from prefix_rft_trl.evaluation.sampling import Asking, Sampling

    given = {**vars(arguments), "batch_size": _batch_size(arguments.batch_size, engine)}
    shared = ("temperature", "top_p", "seed", "batch_size")
    sampling = Sampling(
        **{name: given[name] for name in shared},
        **{name: given[name] for name in ("num_samples", "max_new_tokens") if given[name] is not None},
    )
    of_benchmarks = {field.name: given[field.name] for field in fields(Asking) if field.name in given}
    return Asking(**of_benchmarks, sampling=sampling)


def _batch_size(given: int | None, engine: "Engine") -> int:
    if given is None:
        return 2048 if engine.uses_vllm else 256  # vLLM fills its own batches, and waits for the last of a portion
    return given


def _engine(arguments: argparse.Namespace) -> "Engine":
    from prefix_rft_trl.evaluation.engines import Engine

    return Engine(
        arguments.backend,
        arguments.dtype,
        arguments.tensor_parallel_size,
        arguments.data_parallel_size,
        arguments.vllm_kwargs,
    )


def _prepared(
    source: "ModelSource", names: list[str], asking: "Asking", engine: "Engine"
) -> tuple[list["Benchmark"], "Engine"]:
    from prefix_rft_trl.evaluation.engines import fit_budgets, load_tokenizer
    from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
    from prefix_rft_trl.run.settings import settings_of_run

    engine.check(source)
    tokenizer = load_tokenizer(source)
    found = find_benchmarks(names, asking, settings_of_run(source.path), bool(tokenizer.chat_template))
    is_given = asking.max_new_tokens is not None
    fitting, needed = fit_budgets(found, tokenizer, engine.context_length(source), is_given, _tell)
    for benchmark in fitting:
        sampling = benchmark.sampling
        _tell(
            f"{source.name}, {benchmark.name}: {len(benchmark.rows)} problems x {sampling.num_samples} answers of at "
            f"most {sampling.max_new_tokens} tokens, verified by {benchmark.verifier}"
        )
    return fitting, engine.with_room_for(needed)


def _tell(sentence: str) -> None:
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


def _show(evaluated: dict[str, dict[str, "Figures"]], ks: list[int], folder: Path) -> None:
    from prefix_rft_trl.evaluation.eval_report import draw_pass_at_k, figures_table
    from prefix_rft_trl.evaluation.evaluate import asked_differently
    from prefix_rft_trl.utils.files import write_atomically

    results = {
        model: {benchmark: figures.as_json() for benchmark, figures in of_model.items()}
        for model, of_model in evaluated.items()
    }
    write_atomically(folder / "results.json", json.dumps(results) + "\n")
    draw_pass_at_k(evaluated, folder / "pass_at_k.png")
    _print(figures_table(evaluated, ks))
    for benchmark in dict.fromkeys(name for of_model in evaluated.values() for name in of_model):
        _warn(benchmark, asked_differently([folder / model / benchmark for model in evaluated]))
    print(f"The results are in {folder}: results.json, pass_at_k.png, and the samples of each model as Parquet.")


def _compare(folders: list[Path]) -> int:
    from prefix_rft_trl.evaluation.eval_report import differences, differences_table

    names = [folder.resolve().name for folder in folders]
    found = differences(folders[0], folders[1])
    _print(differences_table(names[0], names[1], found))
    for one in found:
        _warn(one.benchmark, one.asked_differently)
    print("Positive: the second is better. 95% intervals of the mean difference over problems.")
    return 0


def _warn(benchmark: str, asked_differently: list[str]) -> None:
    if asked_differently:
        print(f"Not asked alike on {benchmark}: {'; '.join(asked_differently)}.")


def _print(table: Any) -> None:
    """A table as wide as it is, where the terminal is narrower too: rich would cut off its cells."""
    from rich.console import Console

    console, wide = Console(), Console(width=1000)
    console.width = max(console.width, wide.measure(table).maximum)
    console.print(table)
