"""Find the problems to make demonstrations for, and ask them as a training on those demonstrations does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.held_out import pick_split
from prefix_rft_trl.data.loading import COLUMN_SETTINGS, check_column, load_splits
from prefix_rft_trl.evaluation.benchmark import Benchmark
from prefix_rft_trl.evaluation.eval_benchmarks import (
    DEFAULTS,
    LAB,
    LAB_DEFAULTS,
    asked_benchmark,
    check_problems,
    copy_column,
)
from prefix_rft_trl.evaluation.sampling import EvalOverrides
from prefix_rft_trl.rewards.registry import FORMAT_REWARDS
from prefix_rft_trl.run.settings import AnswerSettings, RunSettings


if TYPE_CHECKING:
    from datasets import Dataset

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Problems:
    """
    Problems without demonstrations.

    Attributes:
        rows (`Dataset`): the problems as they are in the dataset, with `prompt` and all other columns.
        asked (`Benchmark`): the same, as a model is asked.
    """

    rows: "Dataset"
    asked: Benchmark


def answer_settings(recipe: Settings) -> AnswerSettings:
    """How a recipe asks and verifies: what it does not set is as in its training; open without a recipe."""
    if not recipe:
        return AnswerSettings()
    names = recipe.get("reward_funcs") or []
    judging = (name for name in ([names] if isinstance(names, str) else names) if name not in FORMAT_REWARDS)
    reward = next(judging, None)
    return AnswerSettings(
        instruction=recipe.get("instruction") or "",
        system_prompt="",
        conversational=recipe.get("conversational", False),
        chat_template_kwargs=recipe.get("chat_template_kwargs") or {},
        reward=reward,
        reward_kwargs=(recipe.get("reward_kwargs") or {}).get(reward) if reward else None,
        max_new_tokens=recipe.get("max_completion_length"),
        lab_level=recipe.get("lab_level"),
    )


def find_problems(
    name: str,
    given: EvalOverrides,
    recipe: Settings,
    run: RunSettings | None,
    tokenizer: Any,
    say: Callable[[str], None],
) -> Problems:
    """
    The problems of a dataset, with the prompts, budget and reward for one model.

    Args:
        name (`str`): of the dataset, as `dataset_name` of a recipe.
        given (`EvalOverrides`): what the user has set.
        recipe (`Mapping`): settings of a recipe, none without one.
        run (`RunSettings`, *optional*): settings of the run that made the model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): the model's.
        say (`Callable`): takes a sentence that says as what the rows were read.

    Raises:
        ValueError: if the dataset has no problems or lacks a column, or a reward cannot score them.
        UserError: if the dataset cannot be read.
    """
    of_recipe, run = answer_settings(recipe), run or RunSettings()
    if given.reward not in (None, of_recipe.reward):
        of_recipe = replace(of_recipe, reward_kwargs=None)
    given = given.merged_with(of_recipe)
    chosen = given.merged_with(run).merged_with(LAB_DEFAULTS if name == LAB else AnswerSettings(instruction=""))
    chosen = chosen.merged_with(replace(DEFAULTS, conversational=bool(tokenizer.chat_template)))
    rows = _load(name, chosen, recipe, say)
    if chosen.num_problems is not None:
        rows = rows.select(range(min(chosen.num_problems, len(rows))))
    asked = asked_benchmark(name, rows, chosen, given, run, tokenizer)
    return Problems(rows, replace(asked, for_training=True))


def _load(name: str, chosen: EvalOverrides, recipe: Settings, say: Callable[[str], None]) -> "Dataset":
    """The rows of the split, with the columns `prompt` and `solution` if there are any such."""
    names = [setting for setting, _ in COLUMN_SETTINGS.values()]
    columns = {setting: getattr(chosen, setting, None) or recipe.get(setting) for setting in names}
    columns["demonstration_column"] = "none"
    given = {setting: column for setting, column in columns.items() if column}
    settings = {**recipe, **given, "lab_level": chosen.lab_level}
    config = chosen.dataset_config or recipe.get("dataset_config")
    splits = load_splits(name, config, settings=settings, columns=columns, say=say)
    rows = pick_split(splits, chosen.dataset_split or recipe.get("dataset_train_split") or "train")
    for setting, contents in (("prompt_column", "prompts"), ("answer_column", "right answers")):
        column = columns[setting]
        if column or setting == "prompt_column":
            check_column(rows, column or "prompt", contents, f"Name it with `--{setting}`.")
    if columns["prompt_column"]:
        rows = copy_column(rows, columns["prompt_column"], "prompt")
    if columns["answer_column"] and "solution" not in rows.column_names:
        rows = copy_column(rows, columns["answer_column"], "solution")
    check_problems(name, "prompt", list(rows["prompt"]))
    return rows
