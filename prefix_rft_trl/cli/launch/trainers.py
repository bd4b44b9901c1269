"""Make the trainer that a recipe names, with the data, rewards and measurements of its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from accelerate.logging import get_logger
from transformers import Trainer
from trl import ModelConfig

from prefix_rft_trl.data.held_out import (
    check_disjoint,
    leave_out_held_out,
    leave_out_trained,
    pick_split,
    split_names,
)
from prefix_rft_trl.data.loading import check_column, load_splits, with_demonstrations
from prefix_rft_trl.models.adapters import check_adapter_names, module_names
from prefix_rft_trl.models.changes import starting_model
from prefix_rft_trl.models.sources import explain_missing_model, find_models, load_tokenizer
from prefix_rft_trl.rewards import RewardFunction
from prefix_rft_trl.rewards.answers import acceptable_golds
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.printable import printable

from .agents import (
    agent_arguments,
    check_agent_model,
    check_agent_rows,
    refuse_agent_settings,
    refuse_trajectories,
    rewards_itself,
)
from .prompted_rows import prompted, second_dataset, validation_rows
from .recipe_rewards import check_columns, load_rewards


PROMPTS_READ = 100  # training prompts among which a shared instruction is looked for
logger = get_logger(__name__)  # of the first process
FindModel = Callable[[str, str, Any, str | None], str]  # as `starting_model`


@dataclass(frozen=True)
class PreparedTraining:
    """
    A training whose data, rewards and measurements are checked, before its model is loaded.

    Attributes:
        trainer_class (`type`), arguments (`dict`): of the trainer.
        prompts (`list`): the first ones that it trains on.
        held_out, benchmarks: what it measures while it trains.
        measure_steps (`int`): optimizer steps between two measurements of `held_out`.
        tokens (`TokenCounter`): counts generated and trained tokens for the curve.
    """

    trainer_class: Any
    arguments: dict[str, Any]
    prompts: list[Any]
    held_out: Any
    benchmarks: list[Any]
    measure_steps: int
    tokens: Any

    @property
    def without_answer(self) -> str:
        """How many rows to train on have no answer for the reward, in a sentence; empty if there are none."""
        rewards, rows = self.arguments.get("reward_funcs", []), self.arguments["train_dataset"]
        number = _without_answer(rewards[0], rows) if rewards else 0
        if not number:
            return ""
        effect = ": they cost rollouts and teach nothing" if len(rewards) == 1 else ""
        return f"{number:,} of {len(rows):,} rows to train on have no answer for {rewards[0].__name__}{effect}."

    @property
    def held_out_without_answer(self) -> int:
        """How many held-out problems cannot be measured."""
        return _without_answer(self.held_out.reward, self.held_out.rows) if self.held_out else 0

    def check(self) -> None:
        """Makes the checks that the trainer itself makes before it loads the model."""
        from transformers import PreTrainedConfig

        from prefix_rft_trl.checks import check_arguments

        model, source = self.arguments["model"], find_models([self.arguments["model"]])[0]
        with explain_missing_model(model):
            revision = self.arguments["args"].model_init_kwargs["revision"]
            PreTrainedConfig.get_config_dict(source.base or source.path, revision=revision)
        if "reward_funcs" in self.arguments:
            check_arguments(**self.arguments)

    def load(self) -> Any:
        """Loads the model; returns the trainer."""
        from prefix_rft_trl.run.progress_writer import ProgressWriter

        self._warn_of_missing_answers()
        with explain_missing_model(self.arguments["model"]):
            trainer = self.trainer_class(**self.arguments)
        trainer.add_callback(ProgressWriter(trainer.args.output_dir, self.measure_steps))
        _add_measurements(trainer, self.held_out, self.benchmarks, self.measure_steps, self.tokens)
        return trainer

    def _warn_of_missing_answers(self) -> None:
        found = [self.without_answer]
        if missing := self.held_out_without_answer:
            found.append(f"{missing:,} of {len(self.held_out.rows):,} held-out problems have no answer.")
        if said := " ".join(filter(None, found)):
            logger.warning(f"{said} `prefix-rft data check` names the rows.")


def prepare_prefix_grpo(
    script_args: Any, training_args: Any, model_args: ModelConfig, find_model: FindModel = starting_model
) -> PreparedTraining:
    """A training by [`PrefixGRPOTrainer`]."""
    agent = agent_arguments(script_args)
    if not script_args.reward_funcs and not rewards_itself(agent):
        raise UserError("no reward: set `reward_funcs` to a registered name or a dotted path.")
    splits = splits_of(script_args, training_args)
    rewards = load_rewards(script_args) if script_args.reward_funcs else []
    rows = _with_prompts(splits, script_args.dataset_train_split, script_args)
    check_columns(rewards, rows)
    check_agent_rows(agent, rows)
    weights = training_args.reward_weights
    if weights is not None and len(weights) != len(rewards) and rewards:
        raise UserError(
            f"`reward_weights` has {len(weights)} numbers for {len(rewards)} `reward_funcs`. Give each one."
        )
    # Benchmarks replace the test split, but the trainer requires a dataset for an evaluation
    eval_rows = rows.take(0) if script_args.eval_benchmarks else _eval_rows(splits, script_args, training_args)

    from prefix_rft_trl import PrefixGRPOTrainer
    from prefix_rft_trl.run.curve import grpo_tokens

    arguments = {"reward_funcs": rewards, "train_dataset": rows, "eval_dataset": eval_rows, **agent}
    if (demonstrations := second_dataset(script_args, training_args)) is not None:
        arguments["demonstration_dataset"] = demonstrations
    settings = (script_args, training_args, model_args)
    tokens = grpo_tokens(training_args)
    prepared = _prepare(PrefixGRPOTrainer, arguments, settings, find_model, splits, rows, tokens)
    check_agent_model(prepared.arguments)
    return prepared


def prepare_sft(
    script_args: Any, training_args: Any, model_args: ModelConfig, find_model: FindModel = starting_model
) -> PreparedTraining:
    """A training by TRL's `SFTTrainer` on the demonstrations."""
    if script_args.demonstration_dataset_name:
        raise UserError(
            "`demonstration_dataset_name` is trained beside rollouts, which `trainer: sft` has none of. Set "
            "`dataset_name` to it, or `trainer: prefix_grpo`."
        )
    refuse_agent_settings(script_args)
    splits = splits_of(script_args, training_args)
    rows = _with_prompts(splits, script_args.dataset_train_split, script_args)
    refuse_trajectories(rows, training_args.demonstration_column)
    eval_rows = _eval_rows(splits, script_args, training_args)
    if training_args.plateau_tolerance is not None:
        eval_rows = validation_rows(eval_rows, rows, splits, script_args)

    from prefix_rft_trl.run.curve import sft_tokens
    from prefix_rft_trl.sft import CountingSFTTrainer

    arguments = {
        name: None
        if prompts is None
        else with_demonstrations(prompts, training_args.demonstration_column, training_args.chat_template_kwargs)
        for name, prompts in (("train_dataset", rows), ("eval_dataset", eval_rows))
    }
    settings = (script_args, training_args, model_args)
    return _prepare(CountingSFTTrainer, arguments, settings, find_model, splits, rows, sft_tokens())


TRAINERS = {"prefix_grpo": prepare_prefix_grpo, "sft": prepare_sft}


def _prepare(
    trainer_class: Any,
    arguments: dict[str, Any],
    settings: tuple[Any, Any, Any],
    find_model: FindModel,
    splits: Any,
    rows: Any,
    tokens: Any,
) -> PreparedTraining:
    """A training with its measurements. Raises their faults, as the model is not loaded yet."""
    script_args, training_args, model_args = settings
    if _demonstration_column(training_args) == script_args.prompt_column:
        raise UserError(
            f"`prompt_column` and `demonstration_column` are both '{script_args.prompt_column}', so each prompt would "
            "be trained as its own demonstration. Set one of them."
        )
    prompts = [row["prompt"] for row in rows.take(PROMPTS_READ)]
    if not prompts:
        raise UserError(f"the split '{script_args.dataset_train_split}', which is to be trained on, is empty.")
    held_out = _find_held_out(splits, script_args, training_args, arguments.get("reward_funcs"))
    if held_out and (demonstrations := arguments.get("demonstration_dataset")) is not None:
        arguments["demonstration_dataset"] = leave_out_held_out(demonstrations, held_out.rows)
    model = find_model(
        model_args.model_name_or_path, script_args.lab_level, script_args.model_changes, model_args.model_revision
    )
    benchmarks = _find_eval_benchmarks(script_args, training_args, prompts, model)

    from trl import get_peft_config, get_quantization_config

    from prefix_rft_trl.checks import check_prompts

    if model_args.use_peft:
        model_args.lora_target_modules = module_names(model_args.lora_target_modules)
        with explain_missing_model(model):
            check_adapter_names(model, model_args, training_args.trust_remote_code)
    training_args.model_init_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }
    is_sft = not hasattr(training_args, "uses_prefixes")
    if is_sft or not training_args.uses_prefixes:  # the trainer with hybrid rollouts checks its rows
        check_prompts(arguments["train_dataset"], training_args, model, "completion" if is_sft else None)
    arguments = {
        "model": model,
        "args": training_args,
        "quantization_config": get_quantization_config(model_args),
        "peft_config": get_peft_config(model_args),
        **arguments,
    }
    return PreparedTraining(trainer_class, arguments, prompts, held_out, benchmarks, script_args.measure_steps, tokens)


def splits_of(script_args: Any, training_args: Any = None) -> Any:
    """The splits of the dataset that a recipe names, in the columns that a trainer takes.

    With the trainer's settings it is said as what rows were read, and open demonstrations are refused.
    """
    source = (script_args.dataset_name, script_args.dataset_config, script_args.dataset_streaming)
    columns = {"prompt_column": script_args.prompt_column, "demonstration_column": "none"}
    if training_args is not None:
        columns["answer_column"] = getattr(training_args, "answer_column", None)
        columns["demonstration_column"] = _demonstration_column(training_args) or "none"
    say = _say if training_args is not None and training_args.process_index == 0 else None
    return load_splits(*source, settings=vars(script_args), columns=columns, say=say)


def _demonstration_column(training_args: Any) -> str | None:
    """The column with the demonstrations; `None` if they are not needed."""
    is_of_rollouts = hasattr(training_args, "needed_demonstration_column")
    return training_args.needed_demonstration_column if is_of_rollouts else training_args.demonstration_column


def _say(text: str) -> None:
    print(printable(text))


def held_out_rows(splits: Any, script_args: Any) -> Any:
    """The problems that `measure_steps` measures, as they are in the dataset; none of them is trained on.

    Raises:
        UserError: if there are none.
    """
    trained, measured = script_args.dataset_train_split, script_args.measure_split
    if measured not in splits and split_names(measured) == {measured}:
        raise UserError(
            f"the dataset has no split '{measured}' to measure accuracy on; it has: {', '.join(splits)}. Hold "
            "problems out with `test_share: 0.1`, name a file of them in `dataset_test_file`, or set `measure_split` "
            "or `measure_steps: 0`."
        )
    check_disjoint(splits, trained, measured)
    rows, number = pick_split(splits, measured), script_args.measure_rows
    if not hasattr(rows, "__len__"):
        from datasets import Dataset

        rows, number = Dataset.from_list(list(rows if number is None else rows.take(number))), None
    if len(rows) == 0:
        raise UserError(f"the split '{measured}', on which accuracy is to be measured, is empty.")
    check_column(rows, script_args.prompt_column, "prompts of the held-out problems", "Set `prompt_column`.")
    rows = leave_out_trained(rows, pick_split(splits, trained), script_args.prompt_column)
    return rows if number is None else rows.take(number)


def _with_prompts(splits: Any, split: str, script_args: Any) -> Any:
    return prompted(pick_split(splits, split), script_args)


def _eval_rows(splits: Any, script_args: Any, training_args: Any) -> Any:
    """The rows of the trainer's own evaluation; `None` if there is none."""
    if training_args.eval_strategy == "no":
        return None
    return _with_prompts(splits, script_args.dataset_test_split, script_args)


def _without_answer(reward: RewardFunction, rows: Any) -> int:
    """How many rows have nothing in the column of right answers that a reward names; 0 of a stream."""
    column = getattr(reward, "solution_column", None)
    return sum(not acceptable_golds(answer) for answer in rows[column]) if column and hasattr(rows, "__len__") else 0


def _find_held_out(splits: Any, script_args: Any, training_args: Any, rewards: list[RewardFunction] | None) -> Any:
    """The split that `measure_steps` measures; `None` if it measures nothing.

    The rewards are the trainer's, if it has any: one that keeps worker processes is not made twice.
    """
    if not script_args.measure_steps:
        return None
    rewards = rewards or load_rewards(script_args)
    rows = prompted(held_out_rows(splits, script_args), script_args)
    check_columns(rewards, rows)

    from prefix_rft_trl.evaluation.benchmark import HeldOutSplit
    from prefix_rft_trl.evaluation.sampling import Sampling

    batch_size = min(512, -(-len(rows) // training_args.world_size))  # a share for each process
    return HeldOutSplit(
        script_args.measure_split,
        rows,
        rewards[0],
        Sampling(max_new_tokens=script_args.measure_max_new_tokens, batch_size=batch_size),
        template_kwargs=getattr(training_args, "chat_template_kwargs", None),
        further_rewards=tuple(rewards[1:]),
        demonstrations=_measured_demonstrations(rows, splits, script_args, training_args),
    )


def _measured_demonstrations(rows: Any, splits: Any, script_args: Any, training_args: Any) -> tuple[Any, ...]:
    """Demonstrations of the measured problems or, if they have none, of as many of the first ones to train on."""
    from prefix_rft_trl.evaluation.demonstration_likelihood import MOST_DEMONSTRATIONS, find_demonstrations

    column, number = training_args.demonstration_column, min(len(rows), MOST_DEMONSTRATIONS)
    if column == script_args.prompt_column:
        return ()
    found = find_demonstrations(rows.take(number), column)
    trained = _with_prompts(splits, script_args.dataset_train_split, script_args)
    return tuple(found or find_demonstrations(trained.take(number), column))


def _find_eval_benchmarks(script_args: Any, training_args: Any, prompts: list[Any], model: str) -> list[Any]:
    """The benchmarks of each evaluation of `eval_strategy`."""
    if not script_args.eval_benchmarks:
        return []
    if training_args.eval_strategy == "no":
        raise UserError("`eval_benchmarks` are asked by `eval_strategy: steps`, with `eval_steps`. Set both.")

    from prefix_rft_trl.evaluation.engines import fit_budgets
    from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
    from prefix_rft_trl.evaluation.sampling import EvalOverrides
    from prefix_rft_trl.models.sources import context_length
    from prefix_rft_trl.run.settings import RunSettings

    run = RunSettings.from_recipe(script_args, training_args, prompts)
    overrides = EvalOverrides(num_samples=script_args.eval_num_samples, num_problems=script_args.eval_num_problems)
    source = find_models([model], lab_level=script_args.lab_level)[0]
    found = find_benchmarks(script_args.eval_benchmarks, overrides, run, load_tokenizer(source.tokenizer_path))
    in_vllm = getattr(training_args, "use_vllm", False) and training_args.vllm_max_model_length
    fit_budgets(found, in_vllm or context_length(source.base or source.path), is_given=True, report=print)
    for benchmark in found:
        benchmark.check_golds()
    return found


def _add_measurements(trainer: Any, held_out: Any, benchmarks: list[Any], measure_steps: int, tokens: Any) -> None:
    from prefix_rft_trl.evaluation import during_training
    from prefix_rft_trl.evaluation.demonstration_likelihood import DemonstrationLikelihood
    from prefix_rft_trl.run.curve import CurveWriter

    if held_out is not None:
        during_training.refuse_sharded_model(trainer, "measure_steps")
        encoded = held_out.encoded(during_training.text_tokenizer(trainer))
        likelihood = DemonstrationLikelihood(
            trainer, encoded.demonstrations, encoded.sampling.max_new_tokens, encoded.template_kwargs
        )

        def measure(model: Any) -> dict[str, Any]:
            return during_training.measure_held_out(trainer, encoded) | likelihood.measure()

        log = partial(Trainer.log, trainer)  # TRL's would log the metrics of training again
        trainer.add_callback(CurveWriter(trainer.args.output_dir, measure_steps, measure, tokens, log))
    if benchmarks:
        during_training.refuse_sharded_model(trainer, "eval_benchmarks")
        trainer.add_callback(during_training.BenchmarkCallback(trainer, benchmarks))
