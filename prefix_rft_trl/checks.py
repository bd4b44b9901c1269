"""Checks before training starts: refuse arguments and data that do not work, and count what is left out.

Everything is known before the model is loaded, since the tokenizer and the model's config are read on their own.
"""

import inspect
import statistics
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from accelerate.utils import DynamoBackend, TorchDynamoPlugin
from datasets import Dataset, IterableDataset
from transformers import AutoProcessor, PreTrainedModel
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from .config import PrefixGRPOConfig
from .data.row_encoder import RowEncoder
from .data.row_faults import (
    PLAIN_GRPO,
    column_names,
    none_of,
    refuse_columns,
    refuse_faults,
    refuse_without_demonstrations,
    share_of,
    shuffle,
)
from .data.row_scan import RowScan, scan_rows
from .demonstration_rows.dataset_checks import check_demonstration_rows, refuse_other_inputs, takes_demonstrations
from .models.processors import text_side
from .models.sources import ADAPTER_CONFIG, context_length, positions
from .passes import packing_checks
from .rollouts import longest_prefix
from .run.success_bank import refuse_unreadable
from .sampling.generate import declared_generation_config, declared_stop_ids
from .sampling.rollout_function import refuse_settings_with_rollout_function, takes_prefixes
from .sampling.sampler_settings import refuse_generation_config
from .setting_checks.images import refuse_other_processors, refuse_with_images
from .setting_checks.prefix_lengths import refuse_nothing_sampled
from .setting_checks.stages import refuse_arguments_of_stages
from .trajectories.tool_arguments import refuse_settings_with_tools, refuse_settings_without_tools, takes_tools
from .trajectories.tool_registry import check_descriptions
from .trajectories.trajectory_checks import check_trajectory_rows, has_trajectories


logger = get_logger(__name__)


def check_arguments(*args: Any, demonstration_dataset: Any = None, **named: Any) -> inspect.BoundArguments:
    """Checks the arguments of a trainer, and reads every row of its datasets once.

    Returns:
        `inspect.BoundArguments`: the arguments for [`~trl.GRPOTrainer`], with the processing class of the model.

    Raises:
        ValueError: naming the row, column or setting, if the run could not use them.
    """
    given = inspect.signature(GRPOTrainer).bind(*args, **named)
    config, dataset, model = given.arguments["args"], given.arguments.get("train_dataset"), given.arguments["model"]
    is_hybrid = getattr(config, "uses_prefixes", False)
    refuse_arguments_of_stages(given)
    if is_hybrid:
        refuse_other_generators(given)
        refuse_other_processors(given.arguments.get("processing_class"))
        refuse_regional_compilation()
    if getattr(config, "padding_free", False):
        _check_packing(given)
    if takes_demonstrations(demonstration_dataset, config):
        _check_demonstrations(demonstration_dataset, given)
    if not isinstance(dataset, (Dataset, IterableDataset)):  # TRL refuses anything else
        return given
    if not is_hybrid:
        if getattr(config, "prefix_stage_ratios", None):
            refuse_with_images(dataset, column_names(dataset), config, given.arguments.get("processing_class"))
        _check_enough_rows(len(dataset) if isinstance(dataset, Dataset) else None, config)
        if not isinstance(config, PrefixGRPOConfig):
            _warn_of_unused_demonstrations(dataset)
        return given
    _check_columns(column_names(dataset), config)
    if config.demonstration_source == "own":
        refuse_unreadable(next(iter(dataset), {}))
    if given.arguments.get("processing_class") is None:
        given.arguments["processing_class"] = load_processing_class(model, config)
        refuse_other_processors(given.arguments["processing_class"])
    processor = given.arguments["processing_class"]
    refuse_with_images(dataset, column_names(dataset), config, processor)
    if takes_tools(given) or (given.arguments.get("rollout_func") and has_trajectories(dataset, config)):
        _check_trajectories(dataset, given)
        return given
    refuse_settings_without_tools(config)
    refuse_nothing_sampled(config)
    _check_rows(dataset, config, model, None if processor is None else text_side(processor))
    return given


def refuse_other_generators(given: inspect.BoundArguments) -> None:
    """Raises a ValueError if a trainer's arguments replace its generation by one that is not handed the prefixes."""
    rollout_func = given.arguments.get("rollout_func")
    if not rollout_func:
        return
    if not takes_prefixes(rollout_func):
        raise ValueError(
            "`rollout_func` takes over generation, so it has to begin rollouts with prefixes of demonstrations. Add "
            "the argument `prefixes` to it, which is handed them (docs/agents.md), remove `rollout_func`, or set "
            "`num_prefix_generations=0`."
        )
    refuse_settings_with_rollout_function(given.arguments["args"])


def refuse_regional_compilation() -> None:
    """Raises a ValueError if accelerate is set to compile a model's layers one by one.

    It trains a copy of the model then, while TRL asks the model whether it is training.
    """
    compilation = TorchDynamoPlugin()
    if compilation.backend != DynamoBackend.NO and compilation.use_regional_compilation:
        raise ValueError(
            "accelerate is set to compile regions of the model (`dynamo_use_regional_compilation`), which trains a "
            "copy that TRL takes for an evaluation, so no rollout would be hybrid. Turn it off (`torch_compile: true` "
            "works), or set `num_prefix_generations=0`."
        )


def _check_packing(given: inspect.BoundArguments) -> None:
    model, config, dataset = given.arguments["model"], given.arguments["args"], given.arguments.get("train_dataset")
    kwargs = config.model_init_kwargs if isinstance(config.model_init_kwargs, dict) else {}
    source = {"revision": _revision(config)} if isinstance(model, str) else {}
    packing_checks.refuse_model(model, trust_remote_code=config.trust_remote_code, **source)
    packing_checks.refuse_adapter(given.arguments.get("peft_config") or getattr(model, "active_peft_config", None))
    if given.arguments.get("processing_class") is None:
        given.arguments["processing_class"] = load_processing_class(model, config)
    is_dataset = isinstance(dataset, (Dataset, IterableDataset))
    packing_checks.refuse_images(given.arguments["processing_class"], column_names(dataset) if is_dataset else [])
    attention = kwargs.get("attn_implementation") if isinstance(model, str) else model.config._attn_implementation
    if packing_checks.masks_all_tokens(attention):
        logger.warning(packing_checks.warning_of_masks(on_cpu=config.device.type == "cpu"))


def check_prompts(dataset: Dataset | IterableDataset, args: Any, model: str, demonstrations: str | None) -> None:
    """Checks the rows of a run without hybrid rollouts: plain GRPO, or SFT on the column `demonstrations`.

    Raises:
        ValueError: naming the row, if a prompt or a demonstration cannot be trained on.
    """
    processor = load_processing_class(model, args)
    tokenizer = getattr(processor, "tokenizer", processor)
    encoder = None
    if tokenizer is not None and not getattr(args, "chat_template_path", None):  # which SFT gives the tokenizer later
        encoder = RowEncoder(
            tokenizer, declared_stop_ids(model, tokenizer), getattr(args, "chat_template_kwargs", None)
        )
    budget = getattr(args, "max_completion_length", None)
    room = _prompt_room(model, args, "max_completion_length" if budget else "max_length")
    if demonstrations and isinstance(dataset, Dataset):
        _check_enough_for_sft(len(dataset), args)
    scan = scan_rows(dataset, demonstrations, encoder, completion_budget=budget, prompt_room=room if budget else None)
    refuse_faults(scan)
    _warn_of_long_prompts(scan, args)


def load_processing_class(model: str | PreTrainedModel, args: Any) -> Any:
    """The processing class of a model, as TRL loads it; `None` where there is none, of which TRL then speaks."""
    name = model if isinstance(model, str) else get_config_model_id(model.config)
    if (Path(name) / ADAPTER_CONFIG).is_file():
        return None
    with suppress(OSError, ValueError):
        return AutoProcessor.from_pretrained(
            name,
            revision=_revision(args) if isinstance(model, str) else None,
            truncation_side="left",
            padding_side="left",
            trust_remote_code=getattr(args, "trust_remote_code", False),
        )
    return None


def _revision(args: Any) -> str | None:
    kwargs = args.model_init_kwargs
    return kwargs.get("revision") if isinstance(kwargs, dict) else None


def _check_demonstrations(dataset: Dataset, given: inspect.BoundArguments) -> None:
    model, config = given.arguments["model"], given.arguments["args"]
    refuse_regional_compilation()
    if given.arguments.get("processing_class") is None:
        given.arguments["processing_class"] = load_processing_class(model, config)
    refuse_other_inputs(given.arguments)
    encoder, processor = None, given.arguments["processing_class"]
    if processor is not None:
        source = {"revision": _revision(config)} if isinstance(model, str) else {}
        processor = text_side(processor)
        stop_ids = declared_stop_ids(model, processor, **source)
        encoder = RowEncoder(processor, stop_ids, config.chat_template_kwargs, lambda ids, answer: ids)
    check_demonstration_rows(dataset, config, encoder, _prompt_room(model, config, "max_completion_length"))


def _check_trajectories(dataset: Dataset | IterableDataset, given: inspect.BoundArguments) -> None:
    model, config, processor = (given.arguments[name] for name in ("model", "args", "processing_class"))
    refuse_settings_with_tools(given)
    check_descriptions(given.arguments.get("tools") or [])
    source = {"revision": _revision(config)} if isinstance(model, str) else {}
    refuse_generation_config(declared_generation_config(model, **source), config)
    stop_ids = [] if processor is None else declared_stop_ids(model, text_side(processor), **source)
    check_trajectory_rows(dataset, given, stop_ids, _prompt_room(model, config, "max_completion_length"))
    _check_enough_rows(len(dataset) if isinstance(dataset, Dataset) else None, config)


def _check_columns(found: list[str], args: PrefixGRPOConfig) -> None:
    refuse_columns(found, args.needed_demonstration_column)
    if args.prefix_exclude_answer and args.answer_column and args.answer_column not in found:
        raise ValueError(
            f"`prefix_exclude_answer` looks up the answer in the column '{args.answer_column}' (`answer_column`), "
            f"which the training dataset does not have; its columns are: {', '.join(found)}. Set `answer_column` to "
            r"one of them, or to None where every demonstration states its answer in a `\boxed{}` or after a marker."
        )


def _check_enough_rows(rows: int | None, args: Any) -> None:
    """TRL leaves out what does not fill a generation batch: a dataset below one would train nothing."""
    prompts = args.generation_batch_size // args.num_generations
    if rows is not None and 0 < rows < prompts:
        raise ValueError(
            f"The training dataset has {rows} rows, and a step takes {prompts} prompts: a generation batch of "
            f"{args.generation_batch_size} rollouts over all processes (`generation_batch_size`), "
            f"{args.num_generations} for each prompt (`num_generations`). Nothing would be trained: add rows, or "
            "lower `per_device_train_batch_size` or `gradient_accumulation_steps`."
        )


def _check_enough_for_sft(rows: int, args: Any) -> None:
    batch = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and rows < batch:
        raise ValueError(
            f"There are {rows} demonstrations, and a batch takes {batch} over all processes: with "
            "`dataloader_drop_last` nothing would be trained. Lower `per_device_train_batch_size`, or turn it off."
        )


def _warn_of_unused_demonstrations(dataset: Dataset | IterableDataset) -> None:
    column = PrefixGRPOConfig.demonstration_column
    if column in (dataset.column_names or ()):
        logger.warning(
            f"The dataset has demonstrations in the column '{column}', and `args` is a GRPOConfig, so this run is "
            "plain GRPO. Pass a PrefixGRPOConfig for hybrid rollouts."
        )


def _check_rows(dataset: Dataset | IterableDataset, args: PrefixGRPOConfig, model: Any, processor: Any) -> None:
    source = {"revision": _revision(args)} if isinstance(model, str) else {}
    refuse_generation_config(declared_generation_config(model, **source), args)
    encoder = None
    if processor is not None:
        processor = text_side(processor)
        stop_ids = declared_stop_ids(model, processor, **source)
        cut = partial(longest_prefix, args, processor.eos_token_id, processor.decode)
        hint_template = args.prefix_hint_template if args.prefix_placement == "prompt" else None
        encoder = RowEncoder(processor, stop_ids, args.chat_template_kwargs, cut, hint_template)
    scan = scan_rows(
        dataset,
        args.needed_demonstration_column,
        encoder,
        answer_column=args.answer_column,
        excludes_answer=args.prefix_exclude_answer,
        completion_budget=args.max_completion_length,
        prompt_room=_prompt_room(model, args, "max_completion_length"),
    )
    refuse_faults(scan, args.demonstration_column)
    if args.gives_whole_demonstrations and encoder is not None:
        _check_shortest_fits(scan, args, encoder)
    if args.needed_demonstration_column is not None:
        _refuse_plain_grpo(scan, args)
    _check_enough_rows(scan.rows if scan.is_complete else None, args)
    if encoder is not None:
        _warn_of_left_out(scan, args)
        _warn_of_cut_demonstrations(scan, args)
        _warn_of_long_prompts(scan, args)


def _prompt_room(model: Any, args: Any, budget_name: str) -> int | None:
    """Tokens that are left for a prompt in the model's positions; `None` if unknown.

    Raises:
        ValueError: if there is none.
    """
    limit, budget = _positions(model, args), getattr(args, budget_name, None)
    if limit is None or budget is None:
        return None
    holds_prompts = budget_name == "max_length"
    if budget > limit or (budget == limit and not holds_prompts):
        problem = "is more than" if holds_prompts else "leaves no room for a prompt in"
        raise ValueError(
            f"`{budget_name}` ({budget:,}) {problem} the {limit:,} positions of the model. Lower it, or give the "
            "model more positions: `max_position_embeddings` in its config, in a recipe by `model_changes`."
        )
    return limit - budget


def _positions(model: Any, args: Any) -> int | None:
    limits = [args.vllm_max_model_length] if getattr(args, "use_vllm", False) else []
    if not isinstance(model, str):
        limits.append(positions(model.config.to_dict()))
    elif Path(model).is_dir() or _revision(args) in (None, "main"):
        with suppress(OSError, ValueError):
            limits.append(context_length(model))
    return min((limit for limit in limits if limit), default=None)


def _refuse_plain_grpo(scan: RowScan, args: PrefixGRPOConfig) -> None:
    column, missing, empty = args.demonstration_column, scan.number("no_demonstration"), scan.number("no_prefix")
    refuse_without_demonstrations(scan, column)
    if missing + empty == scan.rows:
        raise ValueError(
            f"{none_of(scan)} gives a prefix: {_why_left_out(scan, column)} Change them, {shuffle(scan)}or "
            f"{PLAIN_GRPO}."
        )


def _why_left_out(scan: RowScan, column: str) -> str:
    def at(kind: str) -> str:
        return f" (first: row {scan.counts[kind].first})" if kind in scan.counts else ""

    return (
        f"{scan.number('no_demonstration')} have no demonstration or an empty one in column '{column}'"
        f"{at('no_demonstration')}, {scan.number('no_prefix')} have one that cannot be cut{at('no_prefix')}: a single "
        "token, or one that starts with its answer or with a token that ends a completion."
    )


def _check_shortest_fits(scan: RowScan, args: PrefixGRPOConfig, encoder: RowEncoder) -> None:
    if scan.shortest is None:
        return
    row, prompt, message = scan.shortest
    ids, _ = encoder.demonstration(prompt, message)
    if ids and not encoder.longest_prefix(ids, None):
        raise ValueError(
            f"`prefix_ratio_schedule='whole'` leaves out demonstrations that do not fit `max_completion_length` "
            f"({args.max_completion_length}), and even the shortest, in row {row}, does not. Raise it."
        )


def _warn_of_left_out(scan: RowScan, args: PrefixGRPOConfig) -> None:
    if left_out := scan.number("no_demonstration") + scan.number("no_prefix"):
        reasons = _why_left_out(scan, args.demonstration_column)
        logger.warning(f"{share_of(left_out, scan)} train as plain GRPO: {reasons}")
    if found := scan.counts.get("demonstration_cut"):
        logger.warning(
            f"{share_of(found.rows, scan)} have a demonstration that is cut at a token that ends a completion (first: "
            f"row {found.first}). Store demonstrations without the marks of a chat template."
        )
    if found := scan.counts.get("demonstration_is_prompt"):
        logger.warning(
            f"{share_of(found.rows, scan)} have their prompt as a demonstration (first: row {found.first})."
        )


def _warn_of_cut_demonstrations(scan: RowScan, args: PrefixGRPOConfig) -> None:
    """A tenth of the demonstrations beyond the budget is a sign that it is of another dataset."""
    budget = args.max_completion_length
    assert budget is not None
    longer = sum(length > budget for length in scan.lengths)
    if not longer or 10 * longer < len(scan.lengths):
        return
    verb = "leaves out" if args.gives_whole_demonstrations else "cuts"
    median = int(statistics.median(scan.lengths))
    share = "" if median <= budget else f"; half of them have {median:,} or more, of which {budget / median:.1%} fit"
    logger.warning(
        f"`max_completion_length` ({budget:,}) {verb} long demonstrations: of {len(scan.lengths)} that were encoded, "
        f"{longer} have more tokens{share}. Raise it; `prefix-rft data check` counts all rows."
    )


def _warn_of_long_prompts(scan: RowScan, args: Any) -> None:
    if found := scan.counts.get("prompt_too_long"):
        logger.warning(
            f"{share_of(found.rows, scan)} have a prompt that leaves less than `max_completion_length` "
            f"({args.max_completion_length:,}) of the model's positions (first: row {found.first}, {found.note}). "
            "Remove them, or lower it."
        )
    if found := scan.counts.get("hint_too_long"):
        logger.warning(
            f"{share_of(found.rows, scan)} have a prompt that leaves less than `max_completion_length` "
            f"({args.max_completion_length:,}) of the model's positions with the longest hint (first: row "
            f"{found.first}, {found.note}). Lower it, or the ratio of hints, or remove them."
        )
