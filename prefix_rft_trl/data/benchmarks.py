"""Load the benchmarks that models are evaluated on, and that training data must not hold, from the Hub or a folder."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.errors import nearest


DATA_FOLDER = "PREFIX_RFT_DATA"
SUBFOLDER = "math_benchmarks"

PROBLEM_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("answer", "final_answer", "solution")


@dataclass(frozen=True)
class HubBenchmark:
    """A benchmark on the Hub.

    Attributes:
        hub_name (`str`): name of its dataset.
        split (`str`): split that is evaluated on.
        rows (`int`): number of its problems.
        config (`str`, *optional*): configuration of the dataset.
        problem_column, answer_column (`str`): its columns.
    """

    hub_name: str
    split: str
    rows: int
    config: str | None = None
    problem_column: str = "problem"
    answer_column: str = "answer"


@dataclass(frozen=True)
class BenchmarkProblem:
    """A problem of a benchmark, its answer as stored: text, a number, or a list of texts."""

    text: str
    answer: Any


BENCHMARKS = {
    "aime24": HubBenchmark("HuggingFaceH4/aime_2024", "train", 30),
    "aime25": HubBenchmark("math-ai/aime25", "test", 30),
    "amc": HubBenchmark("AI-MO/aimo-validation-amc", "train", 83),
    "math500": HubBenchmark("HuggingFaceH4/MATH-500", "test", 500),
    "minerva": HubBenchmark("math-ai/minervamath", "test", 272, problem_column="question"),
    "olympiadbench": HubBenchmark(
        "math-ai/olympiadbench", "test", 675, problem_column="question", answer_column="final_answer"
    ),
}


def local_folder() -> Path | None:
    """The folder `$PREFIX_RFT_DATA/math_benchmarks`; `None` if the variable is not set or there is no such folder."""
    folder = os.environ.get(DATA_FOLDER)
    path = Path(folder) / SUBFOLDER if folder else None
    return path if path is not None and path.is_dir() else None


def load_benchmark(name: str) -> list[BenchmarkProblem]:
    """The problems of one of `BENCHMARKS`: of `<name>.jsonl` in the [`local_folder`], or else on the Hub.

    Raises:
        ValueError: for an unknown name, or if the Hub does not provide it.
    """
    if name not in BENCHMARKS:
        raise ValueError(
            f"There is no benchmark {name!r}.{nearest(name, BENCHMARKS)} Known: {', '.join(BENCHMARKS)}; or give a "
            "JSONL file or a folder."
        )
    folder = local_folder()
    if folder is not None and (path := folder / f"{name}.jsonl").is_file():
        return read_problems(path)
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    benchmark = BENCHMARKS[name]
    try:
        rows = load_dataset(benchmark.hub_name, benchmark.config, split=benchmark.split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"The benchmark {name} cannot be loaded from the Hub: {reason}. Give a JSONL file of its problems with "
            f"`problem` and `answer` instead, or put it at ${DATA_FOLDER}/{SUBFOLDER}/{name}.jsonl."
        ) from error
    return [
        BenchmarkProblem(text, answer)
        for text, answer in zip(rows[benchmark.problem_column], rows[benchmark.answer_column], strict=True)
    ]


def read_problems(path: str | Path) -> list[BenchmarkProblem]:
    """The problems of a JSONL file, in the columns `PROBLEM_COLUMNS` and `ANSWER_COLUMNS`.

    Raises:
        ValueError: for an empty file, or a line that is no JSON object or has no problem, naming the line.
    """
    path = Path(path)
    with path.open("rb") as lines:
        problems = [
            _read_line(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
        ]
    if not problems:
        raise ValueError(f"The benchmark file {str(path)!r} is empty.")
    return problems


def find_benchmarks(sources: Sequence[str]) -> dict[str, list[BenchmarkProblem]]:
    """Benchmarks by name.

    Args:
        sources (`Sequence[str]`): names among `BENCHMARKS`, JSONL files, or folders of such files.

    Raises:
        ValueError: if there is no such benchmark, or a file cannot be read.
    """
    return {name: problems for source in sources for name, problems in _problems_at(source)}


def _problems_at(source: str) -> Iterable[tuple[str, list[BenchmarkProblem]]]:
    path = Path(source)
    if source and path.is_dir():
        files = sorted(path.glob("*.jsonl"))
        if not files:
            raise ValueError(f"The folder {source!r} has no benchmark: it holds no JSONL file.")
        return [(file.stem, read_problems(file)) for file in files]
    if path.is_file():
        return [(path.stem, read_problems(path))]
    if path.suffix:
        raise ValueError(f"There is no benchmark file {source!r}.")
    return [(source, load_benchmark(source))]


def _read_line(line: bytes, place: str) -> BenchmarkProblem:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not in UTF-8. Convert the file, as with `iconv -f latin1 -t utf-8`.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected an object with `problem` and `answer`, found {type(row).__name__}.")
    text = _first_value(row, PROBLEM_COLUMNS)
    if isinstance(text, list) and text and isinstance(text[-1], dict):
        text = text[-1].get("content")
    if not isinstance(text, str):
        raise ValueError(
            f"{place}: no problem in any of the columns {', '.join(PROBLEM_COLUMNS)}; found: {', '.join(row)}."
        )
    return BenchmarkProblem(text, _first_value(row, ANSWER_COLUMNS))


def _first_value(row: dict[str, Any], columns: tuple[str, ...]) -> Any:
    return next((row[column] for column in columns if column in row), None)
