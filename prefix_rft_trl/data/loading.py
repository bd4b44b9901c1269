"""Load the dataset of a recipe, and give its rows the prompts and demonstrations that a trainer takes."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError

from .data_files import check_source, explain_unreadable, file_format
from .gym import NAME_PREFIX
from .prompts import make_prompt


if TYPE_CHECKING:
    from datasets import DatasetDict


def load_splits(
    name: str | None,
    config: str | None = None,
    streaming: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> "DatasetDict":
    """The splits of a dataset.

    Args:
        name (`str`): `"lab"`, `"reasoning_gym/<task>"`, the path of a JSONL, JSON, Parquet or CSV file, or a name on
            the Hub.
        config (`str`, *optional*): configuration of a dataset on the Hub; a local file has none.
        streaming (`bool`, *optional*, defaults to `False`): whether to stream it.
        settings (`Mapping`, *optional*): those of a recipe, of which `lab_level` and the like are for
            `lab.load_dataset`, and `reasoning_gym` is for `gym.load_splits`.

    Raises:
        UserError: if no name is given, or if there is no such dataset or it cannot be read.
    """
    import datasets

    if not name:
        raise UserError(
            "no dataset: set `dataset_name` to a name on the Hub, a local file, `lab`, or `reasoning_gym/<task>`."
        )
    if name.startswith(NAME_PREFIX):
        from . import gym

        return gym.load_splits(name, settings.get("reasoning_gym"))
    if name == "lab":
        from prefix_rft_trl import lab

        own = {key.removeprefix("lab_"): value for key, value in settings.items() if key.startswith("lab_")}
        return datasets.DatasetDict({split: lab.load_dataset(split, **own) for split in ("train", "test")})
    check_source(name, streaming)
    source = {"path": file_format(name), "data_files": name} if file_format(name) else {"path": name, "name": config}
    with explain_unreadable(name):
        splits = datasets.load_dataset(**source, streaming=streaming)
        if streaming and Path(name).exists():
            for split in splits.values():
                next(iter(split), None)  # or a fault would be met later
    return splits


def name_on_hub(name: str) -> str | None:
    """The name of a dataset for a model card; `None` where it is no dataset on the Hub."""
    is_made_here = name == "lab" or name.startswith(NAME_PREFIX)
    return None if is_made_here or file_format(name) or Path(name).expanduser().exists() else name


def pick_split(splits: "DatasetDict", split: str) -> Any:
    """A split by its name. Raises `UserError`, with the names that there are, if it is missing."""
    if split not in splits:
        raise UserError(f"the dataset has no split '{split}'; it has: {', '.join(splits)}.")
    return splits[split]


def check_column(dataset: Any, column: str, contents: str, hint: str) -> None:
    """Raises `UserError`, with the columns that there are and a hint, if a dataset lacks one."""
    if dataset.column_names is not None and column not in dataset.column_names:
        raise UserError(
            f"the dataset has no column '{column}' for the {contents}; its columns are: "
            f"{', '.join(dataset.column_names)}. {hint}"
        )


def with_prompts(
    dataset: Any, column: str, instruction: str | None, conversational: bool, system_prompt: str | None = None
) -> Any:
    """The dataset with the prompts of its problems (`make_prompt`) in the column `prompt`.

    Problems that are messages are prompts already, and stay as they are.

    Raises:
        UserError: if there is no such column.
    """
    check_column(dataset, column, "prompts", "Set `prompt_column`.")

    def with_prompt(row: dict[str, Any]) -> dict[str, Any]:
        problem = row[column]
        if not isinstance(problem, str):
            return {"prompt": problem}
        parts = {"instruction": instruction, "system_prompt": system_prompt}
        return {"prompt": make_prompt(problem, conversational=conversational, **parts)}

    changes = column != "prompt" or instruction or conversational or system_prompt
    return dataset.map(with_prompt) if changes else dataset


def with_demonstrations(dataset: Any, column: str, template_kwargs: dict[str, Any] | None = None) -> Any:
    """Prompts with their demonstrations as `completion`, for SFT: one row for each demonstration.

    Further arguments of the chat template go into each row, where TRL's `SFTTrainer` looks for them.

    Raises:
        ValueError: if a row cannot be trained on, or none has a demonstration.
    """
    from prefix_rft_trl.method.demonstrations import parse_demonstrations

    from .row_faults import column_names, refuse_columns, refuse_faults, refuse_without_demonstrations
    from .row_scan import scan_rows

    refuse_columns(column_names(dataset), column)
    scan = scan_rows(dataset, column)
    refuse_faults(scan, column)
    refuse_without_demonstrations(scan, column)

    def split_rows(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = [
            (prompt, message if isinstance(prompt, list) else message["content"])
            for prompt, value in zip(batch["prompt"], batch[column], strict=True)
            for message in parse_demonstrations(value, f"with the prompt {prompt!r:.80}", column)
        ]
        rows = {
            "prompt": [prompt for prompt, _ in found],
            "completion": [[answer] if isinstance(prompt, list) else answer for prompt, answer in found],
        }
        return rows | ({"chat_template_kwargs": [template_kwargs] * len(found)} if template_kwargs else {})

    return dataset.map(split_rows, batched=True, remove_columns=dataset.column_names)
