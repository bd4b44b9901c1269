"""The problems of a benchmark: registered ones, local files, datasets on the Hub, tasks of reasoning-gym, the lab."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import ANSWER_COLUMNS, BENCHMARKS, PROBLEM_COLUMNS, Problem, load_benchmark
from prefix_rft_trl.data.loading import LOCAL_FORMATS, load_splits, pick_split
from prefix_rft_trl.utils.errors import nearest

from .asking import Asking


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

LAB = "lab"


def problems_of(name: str, asking: Asking, lab_level: str) -> "Dataset":
    """
    The problems of a benchmark in the columns `prompt` and `solution`, beside those that it has.

    Raises:
        ValueError: if there is no benchmark of that name, or it has no such columns.
    """
    if name in BENCHMARKS:
        return _of_problems(load_benchmark(name))
    if name == LAB:
        from prefix_rft_trl import lab

        return lab.load_dataset("test", level=lab_level)
    if Path(name).suffix not in LOCAL_FORMATS and not ("/" in name and not Path(name).exists()):
        raise ValueError(
            f"There is no benchmark {name!r}.{nearest(name, [*BENCHMARKS, LAB])} Known: {', '.join(BENCHMARKS)}, "
            f"{LAB}; or give a file ({', '.join(LOCAL_FORMATS)}), or a dataset on the Hub as OWNER/NAME."
        )
    if Path(name).suffix in LOCAL_FORMATS and not Path(name).is_file():
        raise ValueError(f"There is no file {name!r}.")
    splits = _splits(name, asking.dataset_config)
    rows = pick_split(splits, asking.dataset_split or ("test" if "test" in splits else next(iter(splits))))
    problem = _column(rows, name, asking.prompt_column, PROBLEM_COLUMNS, "problems", "--prompt_column")
    answer = _column(rows, name, asking.answer_column, ANSWER_COLUMNS, "right answers", "--answer_column")
    _check_prompts(name, problem, list(rows[problem]))
    return _also_called(_also_called(rows, problem, "prompt"), answer, "solution")


def _also_called(rows: "Dataset", column: str, name: str) -> "Dataset":
    """A column by another name too, in the place of the one that has it: a reward may read it by its own."""
    if column == name:
        return rows
    from datasets import concatenate_datasets

    rows = rows.remove_columns(name) if name in rows.column_names else rows
    return concatenate_datasets([rows, rows.select_columns([column]).rename_column(column, name)], axis=1)


def _splits(name: str, config: str | None) -> "DatasetDict":
    from datasets import logging
    from datasets.exceptions import DatasetsError

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # it logs the traceback of what is told here in a sentence
    try:
        return load_splits(name, config)
    except (DatasetsError, ValueError, StopIteration) as error:  # a StopIteration is an empty file
        reason = error.__cause__ or f"{error}" or "it is empty"
        raise ValueError(f"{name} has no problems that can be read: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)


def _check_prompts(name: str, column: str, prompts: list[Any]) -> None:
    if not prompts:
        raise ValueError(f"{name} has no problems.")
    kind = type(prompts[0]) if isinstance(prompts[0], list) else str
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, kind) or not prompt:
            wanted = "text" if kind is str else "messages, as in the first row"
            raise ValueError(f"{name}, row {row}: its {column} is {prompt!r:.80} instead of {wanted}.")


def _of_problems(problems: list[Problem]) -> "Dataset":
    from datasets import Dataset

    answers = [problem.answer if isinstance(problem.answer, list) else [problem.answer] for problem in problems]
    solutions = [[str(answer) for answer in of_problem] for of_problem in answers]
    return Dataset.from_dict({"prompt": [problem.text for problem in problems], "solution": solutions})


def _column(rows: "Dataset", name: str, given: str | None, known: tuple[str, ...], of_what: str, flag: str) -> str:
    found = next((column for column in ((given,) if given else known) if column in rows.column_names), None)
    if found is None:
        wanted = given or " or ".join(known)
        raise ValueError(
            f"{name} has no column {wanted} for the {of_what}; its columns are: {', '.join(rows.column_names)}. Name "
            f"one by `{flag}`."
        )
    return found
