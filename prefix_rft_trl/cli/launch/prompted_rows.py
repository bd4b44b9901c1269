"""Rows of a recipe's datasets with the prompts that its trainer takes."""

from typing import Any

from prefix_rft_trl.data.held_out import check_disjoint, leave_out_trained, pick_split
from prefix_rft_trl.data.loading import load_splits, with_prompts
from prefix_rft_trl.utils.errors import UserError


OF_LAB = "demonstrations"  # the lab's split of problems that are neither trained on nor held out


def prompted(rows: Any, script_args: Any) -> Any:
    """The rows with their prompts in the column `prompt`.

    Raises:
        UserError: if prompts that are messages should get an instruction.
    """
    first = next(iter(rows), {}).get(script_args.prompt_column) if script_args.instruction else None
    if isinstance(first, list):
        raise UserError(
            f"`instruction` is for prompts that are plain text, and those in the column '{script_args.prompt_column}' "
            "are messages. Put its text into the messages, and remove `instruction`."
        )
    return with_prompts(rows, script_args.prompt_column, script_args.instruction, script_args.conversational)


def validation_rows(eval_rows: Any, rows: Any, splits: Any, script_args: Any) -> Any:
    """The rows of a trainer's own evaluation without those that are trained on, on which the loss only falls.

    Raises:
        UserError: if none is left, or both are slices with the same rows.
    """
    check_disjoint(splits, script_args.dataset_train_split, script_args.dataset_test_split, "dataset_test_split")
    return leave_out_trained(eval_rows, rows, "prompt")


def second_dataset(script_args: Any, training_args: Any) -> Any:
    """The rows of `demonstration_dataset_name`, read as those of `dataset_name`; `None` if there is none.

    Raises:
        UserError: if it cannot be read.
    """
    name = script_args.demonstration_dataset_name
    if not name:
        return None
    of_lab = {key: value for key, value in vars(script_args).items() if key.startswith("lab_")}
    columns = {
        "prompt_column": script_args.prompt_column,
        "demonstration_column": training_args.demonstration_column,
        "answer_column": None,
    }
    try:
        splits = load_splits(name, script_args.demonstration_dataset_config, settings=of_lab, columns=columns)
        if name == "lab":
            from prefix_rft_trl import lab

            own = {key.removeprefix("lab_"): value for key, value in of_lab.items()}
            splits[OF_LAB] = lab.load_dataset(OF_LAB, **own)
        rows = pick_split(splits, script_args.demonstration_dataset_split or (OF_LAB if name == "lab" else "train"))
        return prompted(rows, script_args)
    except UserError as error:
        raise UserError(f"`demonstration_dataset_name`: {error}") from error
