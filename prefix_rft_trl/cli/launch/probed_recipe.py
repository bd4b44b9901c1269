"""Read what a recipe would train: its model, problems, demonstrations and reward, for a probe of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig

from prefix_rft_trl.advice.probe_result import ProbeResult
from prefix_rft_trl.advice.probed_subject import ProbedSubject
from prefix_rft_trl.checks import check_prompts
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.data.held_out import pick_split
from prefix_rft_trl.data.loading import COLUMN_SETTINGS, check_column, load_splits
from prefix_rft_trl.estimates.completion_lengths import LengthDistribution
from prefix_rft_trl.estimates.cost import GB, Workload, memory, seconds_of_step, seconds_to_sample
from prefix_rft_trl.estimates.devices import Device
from prefix_rft_trl.estimates.model_size import ModelSize
from prefix_rft_trl.models.changes import starting_model
from prefix_rft_trl.models.sources import explain_missing_model, find_models, load_tokenizer
from prefix_rft_trl.rewards.registry import FORMAT_REWARDS, name_of_reward
from prefix_rft_trl.sampling.generate import declared_stop_ids, encode_prompts
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import FOLDER

from .agents import refuse_tools_of_recipe
from .arguments import check_stage, is_setting, split_launcher_flags
from .dry_run import ON_CPU, Processes, as_launched, count_steps, launched_processes
from .inputs import MODEL
from .prompted_rows import prompted
from .recipe import Recipe
from .recipe_rewards import check_columns, load_rewards


MOST_OF_STREAM = 2048  # rows of a stream that are looked at
UNUSED: dict[str, tuple[Any, Any]] = {
    "top_k": (0, None),
    "min_p": (None, 0),
    "repetition_penalty": (None, 1),
    "generation_kwargs": (None, {}),
}


@dataclass(frozen=True)
class ProbedRecipe:
    """
    A training whose model, problems and reward are probed.

    Attributes:
        subject (`ProbedSubject`): these.
        values (`dict`): all settings of script, trainer and model.
        steps (`int`, *optional*): optimizer steps; `None` if they cannot be counted.
        size (`ModelSize`, *optional*): of the model, for estimates.
        processes (`Processes`): those that would train.
    """

    subject: ProbedSubject
    values: dict[str, Any]
    steps: int | None
    size: ModelSize | None
    processes: Processes
    validation_split: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def step_rows(self) -> int:
        """Rows of an optimizer step, of all processes."""
        passes = self.values["per_device_train_batch_size"] * self.values["gradient_accumulation_steps"]
        return passes * self.processes.number

    @property
    def rollouts(self) -> int | None:
        """Of the whole training, of all processes; `None` without any, or if steps cannot be counted."""
        if self.steps is None or "num_generations" not in self.values:
            return None
        return self.steps * self.step_rows // self.values["num_iterations"]

    def with_costs(self, result: ProbeResult, device: Device | None) -> ProbeResult:
        """Findings with the size of the training, and its memory and time on a device, by the lengths that were
        found."""
        sized = replace(
            result,
            max_steps=self.steps,
            rollouts=self.rollouts,
            step_rows=self.step_rows,
            epochs=self.values["num_train_epochs"] if self.values["max_steps"] <= 0 else None,
            validation_split=self.validation_split,
            notes=self.notes,
            device=device.name if device else None,
        )
        is_sft = "num_generations" not in self.values
        lengths = result.demonstration_tokens if is_sft else result.answer_tokens
        if device is None or self.size is None or not any(lengths):
            return replace(sized, memory_gb=None, step_seconds=None)
        work = Workload.from_settings(
            self.values,
            self.processes.shards,
            processes=self.processes.number,
            prompt=self._prompt_tokens(),
            lengths=LengthDistribution(mean(lengths), max(lengths)),
            without_gradient=0.0 if is_sft or not result.alone.tries else result.groups_without_gradient,
        )
        used, seconds = memory(work, self.size, device), seconds_of_step(work, self.size, device)
        return replace(sized, memory_gb=used / GB, step_seconds=seconds)

    def seconds_to_answer(self, answers: int, at_a_time: int, mean_tokens: float, device: Device) -> float | None:
        """Seconds that answers take on a device, beside loading and scoring; `None` for an unknown kind of model."""
        if self.size is None:
            return None
        budget = self.subject.max_completion_length
        settings: dict[str, Any] = {"max_completion_length": budget, "per_device_train_batch_size": at_a_time}
        settings |= {"gradient_accumulation_steps": 1, "dtype": "float32", "bf16": False}
        lengths = LengthDistribution(min(mean_tokens, budget), budget)
        work = Workload.from_settings(settings, prompt=self._prompt_tokens(), lengths=lengths)
        return seconds_to_sample(work, self.size, device) * answers / at_a_time

    def _prompt_tokens(self) -> float:
        rows = self.subject.rows
        prompts = list(rows.select(range(0, len(rows), max(1, len(rows) // 64)))["prompt"])
        return mean(map(len, encode_prompts(self.subject.tokenizer, prompts, self.subject.template_kwargs)))


def read_probed_recipe(recipe: Recipe) -> ProbedRecipe:
    """
    Reads the dataset of a recipe and the files of its model; no weights are loaded.

    Of a recipe with stages, it is the last one with rollouts, from the model of the first.

    Raises:
        UserError or ValueError: as the training would, but not for a column `completion` that is missing or empty.
    """
    launcher_flags, training = split_launcher_flags(probed_stage(recipe))
    given = training.parser.parse_known_args(training.flags)[0]
    has_device = given.use_cpu or torch.cuda.is_available()
    flags = [*training.flags, *([] if has_device else ON_CPU), "--output_dir", "runs"]
    processes = launched_processes(launcher_flags, given, has_device, [])
    with as_launched(processes.number):
        script_args, training_args, model_args = replace(training, flags=flags).parse()
    refuse_tools_of_recipe(vars(script_args), "prefix-rft advise")
    if not model_args.model_name_or_path:
        raise UserError("no model: set `model_name_or_path` to a folder, a name on the Hub, or `lab`.")
    if not script_args.reward_funcs:
        raise UserError("no reward: advice needs one, also of SFT. Set `reward_funcs` to a registered name or a path.")
    values = {name: value for part in (script_args, training_args, model_args) for name, value in vars(part).items()}
    splits, rows = _rows(script_args, training_args)
    reward = _judging_reward(script_args, rows, values.get("reward_weights"))
    model = starting_model(
        model_args.model_name_or_path, script_args.lab_level, script_args.model_changes, model_args.model_revision
    )
    (source,) = find_models([model], lab_level=script_args.lab_level)
    source.check_files()
    training_args.model_init_kwargs = {"revision": model_args.model_revision}
    check_prompts(rows, training_args, model, None)
    tokenizer = load_tokenizer(source.tokenizer_path)
    with explain_missing_model(model):
        config = AutoConfig.from_pretrained(source.base or source.path)
    demonstrations, answers = training_args.demonstration_column, training_args.answer_column
    values["model_init_kwargs"] = training_args.model_init_kwargs
    subject = ProbedSubject(
        model=model_args.model_name_or_path,
        dataset=script_args.dataset_name,
        source=source,
        tokenizer=tokenizer,
        stop_ids=declared_stop_ids(source.base or source.path, tokenizer),
        rows=rows,
        reward=reward,
        demonstration_column=demonstrations if demonstrations in rows.column_names else None,
        answer_column=answers if answers in rows.column_names else None,
        num_generations=values.get("num_generations") or PrefixGRPOConfig.num_generations or 8,
        max_completion_length=values.get("max_completion_length") or script_args.measure_max_new_tokens,
        temperature=values.get("temperature", 1.0),
        top_p=values.get("top_p", 1.0),
        excludes_answer=values.get("prefix_exclude_answer", False),
        template_kwargs=training_args.chat_template_kwargs,
        reward_kwargs=(script_args.reward_kwargs or {}).get(reward.__name__),
        prompting={"instruction": script_args.instruction or "", "conversational": script_args.conversational},
    )
    with as_launched(processes.number):
        steps = count_steps(rows, training_args)
    validation = _validation_split(splits, values)
    notes = (*_unused_settings(values), *_unused_rewards(script_args.reward_funcs, reward))
    return ProbedRecipe(subject, values, steps, ModelSize.from_config(config), processes, validation, notes)


def probed_stage(recipe: Recipe) -> Recipe:
    """The training of a recipe that is probed, with the model that the recipe starts from."""
    trainings = recipe.trainings(is_setting)
    for training in trainings:
        check_stage(training)
    chosen = [*trainings, *(training for training in trainings if training.trainer != "sft")][-1]
    if chosen is trainings[0]:
        return chosen
    first = trainings[0].parser.parse_known_args(trainings[0].flags)[0]
    model = {name: getattr(first, name) for name in MODEL}
    return replace(chosen.without_flags(*MODEL), settings={**chosen.settings, **model})


def _validation_split(splits: Any, values: dict[str, Any]) -> str | None:
    """A split with demonstrations that are not trained on; without the problems that accuracy is measured on, if it
    has others."""
    split, measured = values["dataset_test_split"], values.get("measure_rows") or 0
    if split not in splits or not isinstance(rows := splits[split], Dataset):
        return None
    if len(rows) == 0 or values["demonstration_column"] not in rows.column_names:
        return None
    return f"{split}[{measured}:]" if 0 < measured < len(rows) and not values["test_share"] else split


def _unused_settings(values: dict[str, Any]) -> list[str]:
    """Sentences on settings of the sampling that the samplers of the probe do not have."""
    set_ones = [f"`{name}` ({values[name]})" for name, off in UNUSED.items() if values.get(name) not in off]
    if not set_ones:
        return []
    return [f"The probe samples without {', '.join(set_ones)}, which the training has: its success may be another."]


def _unused_rewards(names: list[str], judging: Any) -> list[str]:
    """Sentences on what success by one reward leaves out."""
    if all(name in FORMAT_REWARDS for name in names):
        return [f"All rewards judge the form of an answer: success is that of its form, by `{names[0]}` alone."]
    if len(names) == 1:
        return []
    return [
        f"Success is a reward of at least 1 by `{name_of_reward(judging)}`. The training sums {len(names)} rewards: "
        "groups that are equal by this one may have a gradient by the others."
    ]


def _rows(script_args: Any, training_args: Any) -> Any:
    """All splits, and the rows to train on with their prompts. Demonstrations may be missing, unless their column was
    named."""
    column, default = training_args.demonstration_column, COLUMN_SETTINGS["demonstration"][1]
    if column == script_args.prompt_column:
        raise UserError(f"`prompt_column` and `demonstration_column` are both '{column}'. Set one of them.")
    is_named = column != default and getattr(training_args, "needed_demonstration_column", column) == column
    columns = {
        "prompt_column": script_args.prompt_column,
        "answer_column": training_args.answer_column,
        "demonstration_column": column if is_named else "none",
    }
    source = (script_args.dataset_name, script_args.dataset_config, script_args.dataset_streaming)
    splits = load_splits(*source, settings=vars(script_args), columns=columns, say=print)
    split = script_args.dataset_train_split
    rows = prompted(pick_split(splits, split), script_args)
    if not isinstance(rows, Dataset):
        rows = Dataset.from_list(list(rows.take(MOST_OF_STREAM)))
    if is_named:
        check_column(rows, column, "demonstrations", "Set `demonstration_column`.")
    if len(rows) == 0:
        raise UserError(f"the split '{split}', which is to be trained on, is empty.")
    return splits, rows


def _judging_reward(script_args: Any, rows: Any, weights: list[float] | None) -> Any:
    """The first reward that judges answers and not their form, and has a weight; all of them are checked."""
    rewards = load_rewards(script_args)
    check_columns(rewards, rows)
    names = script_args.reward_funcs
    given = weights if weights and len(weights) == len(names) else [1.0] * len(names)
    weighted = [(name, reward) for name, reward, weight in zip(names, rewards, given, strict=True) if weight]
    judging = [reward for name, reward in weighted if name not in FORMAT_REWARDS]
    return [*judging, *rewards][0]


def default_folder(recipe: Recipe) -> Path:
    """Where the probe of a recipe goes: by its name, and that of its folder below the working one or the package's."""
    if recipe.path is None:
        return Path("runs") / "advise-recipe"
    path = recipe.path.resolve()
    roots = [root for root in (FOLDER.resolve(), Path.cwd()) if path.is_relative_to(root)]
    names = path.relative_to(roots[0]).parts[-2:] if roots else [path.name]
    return Path("runs") / "-".join(["advise", *names[:-1], path.stem])
