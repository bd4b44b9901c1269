"""Benchmarks as they are put to a model: its problems, instruction, template, budget and verifier."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.benchmarks import (
    ANSWER_COLUMNS,
    BENCHMARKS,
    PROBLEM_COLUMNS,
    BenchmarkProblem,
    load_benchmark,
)
from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.data.loading import LOCAL_FORMATS, load_splits, pick_split, with_prompts
from prefix_rft_trl.rewards import load_reward
from prefix_rft_trl.rewards.answers import MARKERS
from prefix_rft_trl.run.settings import RunSettings
from prefix_rft_trl.utils.errors import nearest

from .benchmark import Benchmark
from .sampling import Asking


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


# Budgets, in tokens, of who names none and has no run that does. Temperature 1 as in training.
BUDGET_OF_LAB, BUDGET = 56, 8192


SAMPLES_OF_PAPER = {"aime24": 32, "aime25": 32, "amc": 32}  # avg@32; one sample for the others


def find_benchmarks(
    names: str | Iterable[str], asking: Asking, run: RunSettings | None, has_template: bool
) -> list[Benchmark]:
    """
    The benchmarks as they are put to one model.

    Args:
        names (`str` or `Iterable[str]`): registered names, paths of files, names of datasets on the Hub, or `lab`;
            several in one text stand between commas.
        asking (`Asking`): what the command line says.
        run (`RunSettings`, *optional*): of the run that has made the model.
        has_template (`bool`): whether its tokenizer has a chat template.

    Raises:
        ValueError: for an unknown benchmark, a file without the columns, or a reward that reads others.
    """
    names = [part for name in ([names] if isinstance(names, str) else names) for part in name.split(",") if part]
    found = [_find(name, asking, run or RunSettings(), has_template) for name in names]
    if not found:
        raise ValueError("No benchmark is named: `--benchmarks` takes names and files.")
    called = [benchmark.name for benchmark in found]
    twice = {name for name in called if called.count(name) > 1}
    if twice:
        raise ValueError(f"Two benchmarks are called {', '.join(sorted(twice))}: evaluate them in two commands.")
    return found


def _find(name: str, asking: Asking, run: RunSettings, has_template: bool) -> Benchmark:
    is_lab = name == LAB
    title = name if name in BENCHMARKS or is_lab else Path(name).stem
    rows = problems_of(name, asking, asking.lab_level or run.lab_level)
    if asking.num_problems is not None:
        rows = rows.select(range(min(asking.num_problems, len(rows))))
    instruction = _first(asking.instruction, run.instruction, "" if is_lab else INSTRUCTION)
    conversational = bool(_first(asking.conversational, run.conversational, has_template and not is_lab))
    if asking.instruction and not isinstance(rows[0]["prompt"], str):
        raise ValueError(f"The prompts of {name} are messages, which no `instruction` is put into. Leave it out.")
    rows = with_prompts(rows, "prompt", instruction or None, conversational)
    reward, reward_kwargs = find_verifier(name, title, rows, asking, run)
    sampling = replace(
        asking.sampling,
        num_samples=asking.num_samples or SAMPLES_OF_PAPER.get(title, 1),
        max_new_tokens=asking.max_new_tokens or run.max_new_tokens or (BUDGET_OF_LAB if is_lab else BUDGET),
    )
    markers = getattr(reward, "answer_markers", MARKERS)
    template_kwargs = _first(asking.chat_template_kwargs, run.chat_template_kwargs, {})
    return Benchmark(title, rows, reward, sampling, markers, template_kwargs, reward_kwargs)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


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


def _of_problems(problems: list[BenchmarkProblem]) -> "Dataset":
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


MATHEMATICS, OF_GYM, OF_LAB = "math_accuracy_reward", "reasoning_gym_score", "lab_exact_answer"

COLUMNS_OF_REWARDS = {OF_GYM: "entry"}  # of those whose signature does not say


def find_verifier(
    name: str, title: str, rows: "Dataset", asking: Asking, run: RunSettings
) -> tuple[Any, dict[str, Any] | None]:
    """
    The reward of a benchmark, and what it is made with.

    That of the command line. Else the run's, unless it is made for another task: the lab and reasoning-gym have their
    own, and the mathematics benchmarks Math-Verify.

    Raises:
        ValueError: if it reads a column that is not there.
    """
    chosen, arguments = _choose(name, asking, run)
    reward = _loaded(chosen, json.dumps(arguments))
    needed = getattr(reward, "solution_column", COLUMNS_OF_REWARDS.get(chosen)) or _required(reward)
    missing = [
        column for column in ([needed] if isinstance(needed, str) else needed) if column not in rows.column_names
    ]
    if missing:
        raise ValueError(
            f"The reward {chosen!r} reads the column {', '.join(missing)}, which {title} has not; its columns are: "
            f"{', '.join(rows.column_names)}. Take another: --reward {MATHEMATICS}."
        )
    return reward, arguments


def _choose(name: str, asking: Asking, run: RunSettings) -> tuple[str, dict[str, Any] | None]:
    of_run = run.reward or MATHEMATICS
    if asking.reward:
        return asking.reward, asking.reward_kwargs
    if name == LAB:
        of_benchmark = of_run if of_run.startswith("lab_") else OF_LAB
    elif name.startswith(NAME_PREFIX):
        of_benchmark = OF_GYM
    elif name in BENCHMARKS or of_run.startswith("lab_") or of_run == OF_GYM:
        of_benchmark = MATHEMATICS
    else:
        of_benchmark = of_run
    given = asking.reward_kwargs
    return of_benchmark, run.reward_kwargs if given is None and of_benchmark == run.reward else given


@cache
def _loaded(name: str, arguments: str) -> Any:
    """The same one for all benchmarks and models: `math_accuracy_reward` has worker processes of its own."""
    return load_reward(name, json.loads(arguments))


def _required(reward: Any) -> list[str]:
    """Names of the columns that a reward function does not do without."""
    given, kinds = (
        ("prompts", "completions", "completion_ids"),
        (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY),
    )
    return [
        name
        for name, parameter in signature(reward).parameters.items()
        if parameter.kind in kinds and parameter.default is Parameter.empty and name not in given
    ]
