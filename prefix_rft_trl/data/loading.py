"""Datasets for the command line: from the Hub, from a local file, the lab's, or a task of reasoning-gym."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError

from .gym import NAME_PREFIX


if TYPE_CHECKING:
    from datasets import DatasetDict

LOCAL_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


def load_splits(
    name: str | None,
    config: str | None = None,
    streaming: bool = False,
    of_lab: dict[str, Any] | None = None,
    of_gym: dict[str, Any] | None = None,
) -> "DatasetDict":
    """The splits of a dataset.

    Args:
        name (`str`): `"lab"`, `"reasoning_gym/<task>"`, the path of a JSONL, JSON, Parquet or CSV file, or a name on
            the Hub.
        config (`str`, *optional*): configuration of a dataset on the Hub; a local file has none.
        streaming (`bool`, *optional*, defaults to `False`): whether to stream it.
        of_lab (`dict`, *optional*): level and demonstrations of the lab, as `lab.load_dataset` takes them.
        of_gym (`dict`, *optional*): sizes, seed and options of a task, as `gym.load_splits` takes them.
    """
    import datasets

    if name is None:
        raise UserError(
            "no dataset: set `dataset_name` to a name on the Hub, a local file, `lab`, or `reasoning_gym/<task>`."
        )
    if name.startswith(NAME_PREFIX):
        from . import gym

        return gym.load_splits(name, of_gym)
    if name == "lab":
        from prefix_rft_trl import lab

        return datasets.DatasetDict({split: lab.load_dataset(split, **of_lab or {}) for split in ("train", "test")})
    file_format = LOCAL_FORMATS.get(Path(name).suffix)
    if file_format:
        if not Path(name).is_file():
            raise UserError(f"there is no dataset file {name!r}.")
        return datasets.load_dataset(file_format, data_files=name, streaming=streaming)
    return datasets.load_dataset(name, name=config, streaming=streaming)


def name_on_hub(name: str) -> str | None:
    """The name of a dataset for a model card; `None` for the lab's, a task's and a local file."""
    is_made_here = name == "lab" or name.startswith(NAME_PREFIX)
    return None if is_made_here or Path(name).suffix in LOCAL_FORMATS else name


def pick_split(splits: "DatasetDict", split: str) -> Any:
    if split not in splits:
        raise UserError(f"the dataset has no split '{split}'; it has: {', '.join(splits)}.")
    return splits[split]


def with_prompts(dataset: Any, column: str, instruction: str | None, conversational: bool) -> Any:
    """The dataset with its prompts in the column `prompt`, followed by the instruction, as messages if asked for."""
    if dataset.column_names is not None and column not in dataset.column_names:
        raise UserError(
            f"the dataset has no column '{column}' for the prompts; its columns are: "
            f"{', '.join(dataset.column_names)}. Set `prompt_column`."
        )

    def prompt_of(row: dict[str, Any]) -> dict[str, Any]:
        prompt = row[column]
        if not isinstance(prompt, str):
            return {"prompt": prompt}
        text = f"{prompt}\n{instruction}" if instruction else prompt
        return {"prompt": [{"role": "user", "content": text}] if conversational else text}

    return dataset.map(prompt_of) if column != "prompt" or instruction or conversational else dataset


def with_demonstrations(dataset: Any, column: str, template_kwargs: dict[str, Any] | None = None) -> Any:
    """Prompts with their demonstrations as `completion`, for SFT: a row a demonstration, none without.

    Further arguments of the chat template go with each row, where TRL's `SFTTrainer` looks for them.
    """
    from prefix_rft_trl.method.demonstrations import check_demonstrations, parse_demonstrations

    check_demonstrations(dataset, column)

    def rows_of(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
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

    return dataset.map(rows_of, batched=True, remove_columns=dataset.column_names)
