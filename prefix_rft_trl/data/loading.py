"""Load the dataset of a recipe, and give its rows the prompts and demonstrations that a trainer takes."""

import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError

from .data_files import HUB_NAME, check_source, explain_unreadable, file_format, file_of_each_split, local_source
from .gym import NAME_PREFIX
from .held_out import with_held_out
from .prompts import make_prompt
from .row_forms import ConversationForm, RowForm, example_row, recognised_form


if TYPE_CHECKING:
    from datasets import DatasetDict


COLUMN_SETTINGS = {  # role: setting and its default
    "prompt": ("prompt_column", "prompt"),
    "demonstration": ("demonstration_column", "completion"),
    "answer": ("answer_column", "solution"),
}


def load_splits(
    name: str | None,
    config: str | None = None,
    streaming: bool = False,
    settings: Mapping[str, Any] = MappingProxyType({}),
    columns: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> "DatasetDict":
    """The splits of a dataset, with the problems that the settings hold out as the split `test`.

    Args:
        name (`str`): `"lab"`, `"reasoning_gym/<task>"`, the path of a JSONL, JSON, Parquet, CSV or TSV file, of a
            folder of them or of `save_to_disk`, or a name on the Hub.
        config (`str`, *optional*): configuration of a dataset on the Hub; a local file has none.
        streaming (`bool`, *optional*, defaults to `False`): whether to stream it.
        settings (`Mapping`, *optional*): those of a recipe, of which `lab_level` and the like are for
            `lab.load_dataset`, `reasoning_gym` is for `gym.load_splits`, and `dataset_test_file` and `test_share` are
            for `with_held_out`.
        columns (`Mapping`, *optional*): `prompt_column`, `demonstration_column` and `answer_column` as the user has
            set them. Rows of a known form (`row_forms`) then get the columns `prompt`, `completion` and `solution`
            for those that are left at their defaults, `"none"` for demonstrations that are not needed. Without it
            rows stay as they are.
        say (`Callable`, *optional*): takes a sentence that says as what the rows were read.

    Raises:
        UserError: if no name is given, if there is no such dataset or it cannot be read, or if it is open which of
            its columns holds the prompts or the demonstrations.
    """
    splits, test_file = _load_named(name, config, streaming, settings, columns, say), settings.get("dataset_test_file")
    of_file = _load_named(test_file, None, streaming, {}, columns, None) if test_file else None
    return with_held_out(splits, settings, of_file)


def _load_named(
    name: str | None,
    config: str | None,
    streaming: bool,
    settings: Mapping[str, Any],
    columns: Mapping[str, Any] | None,
    say: Callable[[str], None] | None,
) -> "DatasetDict":
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
    name = os.path.expanduser(name)
    if files := file_of_each_split(Path(name)):  # each by itself, since their columns may differ
        loaded = {split: _load_named(str(file), None, streaming, {}, columns, say) for split, file in files.items()}
        kind = datasets.IterableDatasetDict if streaming else datasets.DatasetDict
        return kind({split: next(iter(rows.values())) for split, rows in loaded.items()})
    splits = _load_source(name, config, streaming)
    return splits if columns is None else _in_columns_of_training(splits, name, columns, say)


def _load_source(name: str, config: str | None, streaming: bool) -> "DatasetDict":
    import datasets

    check_source(name, streaming)
    with explain_unreadable(name):
        source = None if config and Path(name).is_dir() else local_source(name)
        splits = datasets.load_dataset(**(source or {"path": name, "name": config}), streaming=streaming)
        if streaming and Path(name).exists():
            for split in splits.values():
                next(iter(split), None)  # or a fault would be met later
    return splits


def _in_columns_of_training(
    splits: "DatasetDict", name: str, columns: Mapping[str, Any], say: Callable[[str], None] | None
) -> "DatasetDict":
    """The splits with their rows as `prompt`, `completion` and `solution`."""
    given = {
        role: None if columns.get(setting) == "none" else columns.get(setting)
        for role, (setting, default) in COLUMN_SETTINGS.items()
        if columns.get(setting) not in (None, default)
    }
    for split, rows in splits.items():
        example = example_row(rows)
        found = rows.column_names or list(example)
        try:
            form = recognised_form(found, example, given)
        except ValueError as error:
            if split != next(iter(splits)):  # which is not trained on
                continue
            raise UserError(f"the dataset {name!r}: {error} Its columns are: {', '.join(found)}.") from error
        written = _columns_to_write(form, found, given) if form else []
        if form is None or not written:
            continue
        splits[split] = _with_columns(rows, form, written)
        if say is not None:
            say(textwrap.fill(f"{Path(name).name} is read as {form.describe()}.", 80, subsequent_indent="  "))
            say = None
    return splits


def _columns_to_write(form: RowForm, found: list[str], given: Mapping[str, str | None]) -> list[str]:
    """Of `prompt`, `completion` and `solution` those that the rows do not hold yet, or hold something else in.

    They are the same whether demonstrations are needed or not, so that all trainers have the same prompts and answers.
    """
    written = []
    if not given.get("prompt") and form.prompt != "prompt":
        written.append("prompt")
    if not given.get("demonstration") and form.demonstration not in (None, "completion"):
        written.append("completion")
    is_moved = "completion" in written and form.demonstration == "solution"
    if ("solution" not in found or is_moved) and form.answer in found:
        written.append("solution")
    return written


def _with_columns(rows: Any, form: RowForm, written: list[str]) -> Any:
    """Rows with what their form reads in further columns, or in place of columns of that name."""
    import datasets

    def read(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        names = list(batch)
        found = [form.read(dict(zip(names, values, strict=True))) for values in zip(*batch.values(), strict=True)]
        return {name: [row[name] for row in found] for name in written}

    if not isinstance(rows, datasets.Dataset):
        return rows.map(read, batched=True)
    sources = [name for name in form.columns if name in rows.column_names]
    features = datasets.Features({name: _feature(form, name, rows.features) for name in written})
    read_rows = rows.select_columns(sources).map(
        read, batched=True, remove_columns=sources, features=features, desc="Reading rows"
    )
    others = rows.remove_columns([name for name in written if name in rows.column_names])
    return datasets.concatenate_datasets([others, read_rows], axis=1)


def _feature(form: RowForm, column: str, features: Mapping[str, Any]) -> Any:
    """The type of what a form reads: that of its source, or, where it is made of several or parsed, its own."""
    from datasets import Json, List, Value

    source = {"prompt": form.prompt, "completion": form.demonstration, "solution": form.answer}[column]
    found = features[str(source)]
    if column == "solution":
        return Value("string") if form.answer == form.demonstration else found
    if not isinstance(form, ConversationForm):
        return found
    has_roles = isinstance(found, Json) or (isinstance(found, List) and "role" in found.feature)
    return found if has_roles else List({"role": Value("string"), "content": Value("string")})


def name_on_hub(name: str) -> str | None:
    """The name of a dataset for a model card; `None` where it is no dataset on the Hub."""
    is_made_here = name == "lab" or name.startswith(NAME_PREFIX)
    is_local = file_format(name) or Path(name).expanduser().exists()
    return name if HUB_NAME.match(name) and not is_made_here and not is_local else None


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
