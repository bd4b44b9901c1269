"""Find benchmarks by name, and fit prompts, budget and verifier to the model that is evaluated."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefix_rft_trl.data.benchmarks import ANSWER_COLUMNS, BENCHMARKS, PROBLEM_COLUMNS, load_benchmark
from prefix_rft_trl.data.data_files import KINDS, file_format
from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.data.held_out import HELD_OUT, pick_split
from prefix_rft_trl.data.loading import load_splits, with_prompts
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION
from prefix_rft_trl.rewards import load_reward
from prefix_rft_trl.rewards.registry import REWARDS, check_row, required_columns
from prefix_rft_trl.run.settings import AnswerSettings, RunSettings
from prefix_rft_trl.utils.errors import nearest

from .benchmark import Benchmark
from .sampling import EvalOverrides


if TYPE_CHECKING:
    from datasets import Dataset


LAB = "lab"
SAMPLES_OF_PAPER = {"aime24": 32, "aime25": 32, "amc": 32}  # avg@32; one sample for the others
MATHEMATICS, GYM_SCORE, LAB_ANSWER = "math_accuracy_reward", "reasoning_gym_score", "lab_exact_answer"

# For a model that no run has made: the paper's instruction, in a chat template if there is one
DEFAULTS = AnswerSettings(instruction=BOX_INSTRUCTION, chat_template_kwargs={}, max_new_tokens=8192, lab_level="easy")
LAB_DEFAULTS = AnswerSettings(instruction="", conversational=False, max_new_tokens=56)


def find_benchmarks(
    names: str | Iterable[str], overrides: EvalOverrides, run: RunSettings | None, tokenizer: Any
) -> list[Benchmark]:
    """
    The benchmarks with the prompts, budget and verifier for one model.

    Args:
        names (`str` or `Iterable[str]`): registered names, paths of files, names of datasets on the Hub, or `lab`;
            several in one text stand between commas.
        overrides (`EvalOverrides`): what the user has set.
        run (`RunSettings`, *optional*): settings of the run that made the model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): the model's.

    Raises:
        ValueError: for an unknown benchmark, a file without the columns, or a reward that reads others.
    """
    names = [part for name in ([names] if isinstance(names, str) else names) for part in name.split(",") if part]
    found = [_find(name, overrides, run or RunSettings(), tokenizer) for name in names]
    if not found:
        raise ValueError("No benchmark is named: `--benchmarks` takes names and files.")
    called = [benchmark.name for benchmark in found]
    twice = {name for name in called if called.count(name) > 1}
    if twice:
        raise ValueError(f"Two benchmarks are called {', '.join(sorted(twice))}: evaluate them in two commands.")
    return found


def _find(name: str, overrides: EvalOverrides, run: RunSettings, tokenizer: Any) -> Benchmark:
    chosen = overrides.merged_with(run).merged_with(LAB_DEFAULTS if name == LAB else AnswerSettings())
    chosen = chosen.merged_with(replace(DEFAULTS, conversational=bool(tokenizer.chat_template)))
    rows = _load_problems(name, chosen)
    if chosen.num_problems is not None:
        rows = rows.select(range(min(chosen.num_problems, len(rows))))
    num_samples = chosen.num_samples or SAMPLES_OF_PAPER.get(title_of(name), 1)
    return asked_benchmark(name, rows, replace(chosen, num_samples=num_samples), overrides, run, tokenizer)


def title_of(name: str) -> str:
    return name if name in BENCHMARKS or name == LAB else Path(name).stem


def asked_benchmark(
    name: str, rows: "Dataset", chosen: EvalOverrides, overrides: EvalOverrides, run: RunSettings, tokenizer: Any
) -> Benchmark:
    """
    The benchmark of problems, with the prompts that a model is asked with.

    Args:
        name (`str`): that the problems were found by.
        rows (`Dataset`): the problems as `prompt`, text or messages, with what the reward reads.
        chosen (`EvalOverrides`): all settings, complete.
        overrides (`EvalOverrides`): what the user has set of them.
        run (`RunSettings`): settings of the run that made the model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): the model's.

    Raises:
        ValueError: for an instruction where prompts are messages, or a reward that is unknown or lacks a column.
    """
    title = title_of(name)
    if (overrides.instruction or overrides.system_prompt) and not isinstance(rows[0]["prompt"], str):
        given = "instruction" if overrides.instruction else "system_prompt"
        raise ValueError(f"The prompts of {name} are messages, which no `{given}` is put into. Leave it out.")
    rows = with_prompts(rows, "prompt", chosen.instruction, bool(chosen.conversational), chosen.system_prompt)
    reward_name, reward_kwargs = _choose_reward(name, overrides, run)
    reward = _load_verifier(reward_name, json.dumps(reward_kwargs))
    missing = [column for column in required_columns(reward) if column not in rows.column_names]
    if missing:
        raise ValueError(
            f"The reward {reward_name!r} reads the column {', '.join(missing)}, which {title} does not have; its "
            f"columns are: {', '.join(rows.column_names)}. Take another: --reward {MATHEMATICS}."
        )
    check_row(reward, rows[0])
    return Benchmark(
        title,
        rows,
        reward,
        replace(
            chosen.sampling,
            num_samples=cast(int, chosen.num_samples),
            max_new_tokens=cast(int, chosen.max_new_tokens),
        ),
        chosen.chat_template_kwargs,
        reward_kwargs,
        {
            "instruction": chosen.instruction or "",
            "system_prompt": chosen.system_prompt or "",
            "conversational": bool(chosen.conversational),
        },
    ).encoded(tokenizer)


def _load_problems(name: str, chosen: EvalOverrides) -> "Dataset":
    """The problems of a benchmark in the columns `prompt` and `solution`, with all others that it has."""
    if chosen.test_share and (name in BENCHMARKS or name == LAB):
        raise ValueError(
            f"`test_share` is for the dataset of a training, and {name} is held out as it is. Evaluate it in another "
            "command."
        )
    if name in BENCHMARKS:
        return _load_registered(name)
    if name == LAB:
        from prefix_rft_trl import lab

        return lab.load_dataset("test", level=cast(str, chosen.lab_level))
    if not file_format(name) and "/" not in name and not Path(name).exists():
        raise ValueError(
            f"There is no benchmark {name!r}.{nearest(name, [*BENCHMARKS, LAB])} Known: {', '.join(BENCHMARKS)}, "
            f"{LAB}; or give a file ({KINDS}), or a dataset on the Hub as OWNER/NAME."
        )
    problems, answers = list(PROBLEM_COLUMNS), list(ANSWER_COLUMNS)
    if chosen.test_share:
        rows = _held_out_by_share(name, chosen)
        problems, answers = ["prompt", *problems], ["solution", *answers]
    else:
        splits = load_splits(name, chosen.dataset_config)
        rows = pick_split(splits, chosen.dataset_split or (HELD_OUT if HELD_OUT in splits else next(iter(splits))))
    problem = _column(rows, name, chosen.prompt_column, problems, "problems", "--prompt_column")
    answer = _column(rows, name, chosen.answer_column, answers, "right answers", "--answer_column")
    check_problems(name, problem, list(rows[problem]))
    return copy_column(copy_column(rows, problem, "prompt"), answer, "solution")


def _held_out_by_share(name: str, chosen: EvalOverrides) -> "Dataset":
    """The problems that a training with this share holds out, read as it reads them."""
    settings = {
        "test_share": chosen.test_share,
        "test_seed": chosen.test_seed,
        "prompt_column": chosen.prompt_column,
        "dataset_train_split": chosen.dataset_split,
    }
    columns = {"prompt_column": chosen.prompt_column, "demonstration_column": "none"}
    columns |= {"answer_column": chosen.answer_column}
    return load_splits(name, chosen.dataset_config, settings=settings, columns=columns)[HELD_OUT]


def _load_registered(name: str) -> "Dataset":
    from datasets import Dataset

    problems = load_benchmark(name)
    answers = [problem.answer if isinstance(problem.answer, list) else [problem.answer] for problem in problems]
    solutions = [list(map(str, alternatives)) for alternatives in answers]
    return Dataset.from_dict({"prompt": [problem.text for problem in problems], "solution": solutions})


def _column(rows: "Dataset", name: str, given: str | None, known: list[str], content: str, flag: str) -> str:
    found = next((column for column in ([given] if given else known) if column in rows.column_names), None)
    if found is None:
        wanted = given or " or ".join(known)
        raise ValueError(
            f"{name} has no column {wanted} for the {content}; its columns are: {', '.join(rows.column_names)}. Name "
            f"one by `{flag}`."
        )
    return found


def check_problems(name: str, column: str, problems: list[Any]) -> None:
    if not problems:
        raise ValueError(f"{name} has no problems.")
    kind = list if isinstance(problems[0], list) else str
    for row, problem in enumerate(problems):
        if not isinstance(problem, kind) or not problem:
            wanted = "text" if kind is str else "messages, as in the first row"
            raise ValueError(f"{name}, row {row}: its {column} is {problem!r:.80} instead of {wanted}.")


def copy_column(rows: "Dataset", column: str, name: str) -> "Dataset":
    """Copies a column to another name, in place of the one that has it: a reward may read it by its own."""
    if column == name:
        return rows
    from datasets import concatenate_datasets

    rows = rows.remove_columns(name) if name in rows.column_names else rows
    return concatenate_datasets([rows, rows.select_columns([column]).rename_column(column, name)], axis=1)


def _choose_reward(name: str, overrides: EvalOverrides, run: RunSettings) -> tuple[str, dict[str, Any] | None]:
    """The user's reward. Else the run's, unless it is made for another task: the lab and reasoning-gym have their own,
    and the mathematics benchmarks Math-Verify.

    Raises:
        ValueError: if the file of a run names a reward that is not registered: it would be imported and called.
    """
    if overrides.reward:
        return overrides.reward, overrides.reward_kwargs
    trained = run.reward or MATHEMATICS
    if name == LAB:
        chosen = trained if trained.startswith("lab_") else LAB_ANSWER
    elif name.startswith(NAME_PREFIX):
        chosen = GYM_SCORE
    elif name in BENCHMARKS or trained.startswith("lab_") or trained == GYM_SCORE:
        chosen = MATHEMATICS
    else:
        chosen = trained
    if run.file is not None and chosen not in REWARDS:
        raise ValueError(
            f"{run.file} names the reward {chosen!r}, which is code, and no code is taken from the folder of a model. "
            f"If you trust it, give it yourself: --reward {chosen}. Or take another: --reward {MATHEMATICS}."
        )
    kwargs = overrides.reward_kwargs
    return chosen, run.reward_kwargs if kwargs is None and chosen == run.reward else kwargs


@cache
def _load_verifier(name: str, arguments: str) -> Any:
    """One reward for all benchmarks and models: `math_accuracy_reward` has worker processes of its own."""
    return load_reward(name, json.loads(arguments))
