"""Refuse a second dataset of demonstrations that a run cannot train on, before its model is loaded."""

from collections.abc import Mapping
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.data.row_faults import column_names, refuse_faults, share_of
from prefix_rft_trl.data.row_scan import RowScan, scan_rows


BATCH_SIZE = "per_device_demonstration_batch_size"
logger = get_logger(__name__)


def takes_demonstrations(dataset: Any, args: Any) -> bool:
    """Whether a run trains a second dataset.

    Raises:
        ValueError: if it has a dataset or a batch size alone, or a dataset whose rows have no numbers.
    """
    size = getattr(args, BATCH_SIZE, 0)
    if dataset is None and size:
        raise ValueError(
            f"`{BATCH_SIZE}` ({size}) trains the rows of a second dataset, and there is none. Pass "
            "`demonstration_dataset`, in a recipe `demonstration_dataset_name`."
        )
    if dataset is not None and not size:
        raise ValueError(
            f"There is a `demonstration_dataset`, and `{BATCH_SIZE}` is 0, so none of its rows would be trained. Set "
            "it to how many each micro-batch has (CHORD: a quarter of the rollouts), or leave the dataset out."
        )
    if dataset is not None and not isinstance(dataset, Dataset):
        raise ValueError(
            f"`demonstration_dataset` is drawn by row numbers, found {type(dataset).__name__}. Pass one split as a "
            "`Dataset`, without streaming."
        )
    return dataset is not None


def refuse_other_inputs(arguments: Mapping[str, Any]) -> None:
    """Raises a ValueError if the rollouts of a trainer have what demonstrations lack."""
    processor = arguments.get("processing_class")
    if not (processor is None or isinstance(processor, PreTrainedTokenizerBase)):
        raise ValueError(
            f"Demonstrations are trained as text, and the processing class is a {type(processor).__name__}. Pass the "
            f"tokenizer alone as `processing_class`, or set `{BATCH_SIZE}=0`."
        )
    for name in ("tools", "rollout_func", "environment_factory"):
        if arguments.get(name):
            raise ValueError(
                f"`{name}` takes over generation, and a demonstration is one answer to its prompt. Remove "
                f"`{name}`, or set `{BATCH_SIZE}=0`."
            )
    if images := {"image", "images"} & {*(getattr(arguments.get("train_dataset"), "column_names", None) or ())}:
        raise ValueError(
            f"The training dataset has a column '{images.pop()}', and demonstrations are trained as text. Remove the "
            f"column, or set `{BATCH_SIZE}=0`."
        )


def check_demonstration_rows(dataset: Dataset, args: Any, encoder: RowEncoder | None, prompt_room: int | None) -> None:
    """Reads every row once.

    Args:
        dataset (`Dataset`): the second one.
        args: the settings.
        encoder (`RowEncoder`, *optional*): without it forms alone are read.
        prompt_room (`int`, *optional*): tokens that the model has for a prompt.

    Raises:
        ValueError: naming the row or column that cannot be trained on.
    """
    if not len(dataset):
        raise ValueError("`demonstration_dataset` is empty. Fill it, or leave it out.")
    column, found = args.demonstration_column, column_names(dataset)
    for name, contents in (("prompt", "prompts"), (column, "demonstrations (`demonstration_column`)")):
        if name not in found:
            raise ValueError(
                f"`demonstration_dataset` has no column '{name}' for the {contents}; its columns are: "
                f"{', '.join(found)}. Rename one of them."
            )
    scan = scan_rows(dataset, column, encoder, completion_budget=args.max_completion_length, prompt_room=prompt_room)
    try:
        refuse_faults(scan, column)
    except ValueError as error:
        raise ValueError(f"`demonstration_dataset`: {error}") from None
    _refuse_untrained(scan, column, args.max_completion_length, encoder)
    _warn_of_left_out(scan, column, args.max_completion_length)


def _refuse_untrained(scan: RowScan, column: str, budget: int, encoder: RowEncoder | None) -> None:
    none = f"None of the {scan.rows:,} rows of `demonstration_dataset` has a demonstration"
    missing = scan.number("no_demonstration") + scan.number("no_prefix")
    if missing == scan.rows:
        raise ValueError(
            f"{none}: column '{column}' is empty everywhere, or begins with a token that ends a completion. Fill it, "
            "or set `demonstration_column`."
        )
    if scan.number("demonstration_is_prompt") == scan.rows - missing:
        raise ValueError(
            f"{none} that is not its prompt: column '{column}' repeats the problem. Set `demonstration_column` to the "
            "column with the demonstrations."
        )
    if scan.shortest is None or encoder is None:
        return
    row, prompt, message = scan.shortest
    length = len(encoder.demonstration(prompt, message)[0])
    if length >= budget:
        raise ValueError(
            f"No row of `demonstration_dataset` fits `max_completion_length` ({budget:,}): the shortest "
            f"demonstration, in row {row}, has {length:,} tokens and the end of sequence. Raise it."
        )


def _warn_of_left_out(scan: RowScan, column: str, budget: int) -> None:
    if missing := scan.number("no_demonstration"):
        logger.warning(
            f"{share_of(missing, scan)} of `demonstration_dataset` have nothing in the column '{column}' (first: row "
            f"{scan.counts['no_demonstration'].first}) and are left out."
        )
    if longer := sum(length >= budget for length in scan.lengths):
        logger.warning(
            f"`max_completion_length` ({budget:,}) leaves out long rows of `demonstration_dataset`: of "
            f"{len(scan.lengths)} that were encoded, {longer} do not fit. `demonstrations/left_out` counts them."
        )
