"""Refuse a training dataset for what was found in its rows, with the row, the number of such rows, and the remedy."""

from typing import TYPE_CHECKING

from .row_scan import RowScan, is_transformed


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

PLAIN_GRPO = "set `num_prefix_generations=0` for plain GRPO"

_FAULTS = {  # kind, what is wrong, and what to do
    "prompt_unusable": (
        "column 'prompt': a prompt is text, or a list of messages with a role and a content, found {note}",
        "Fill it, or remove the row.",
    ),
    "demonstration_unusable": ("{note}", ""),
    "prompt_refused": ("column 'prompt': {note}", ""),
    "no_place_for_thinking": ("column '{column}': {note}", ""),
    "prompt_beyond_model": ("column 'prompt': {note}, more than the model has positions", "Remove the row."),
    "hint_beyond_model": (
        "column '{column}': the prompt has {note} with the longest hint from it, more than the model has positions",
        "Remove the row, or lower `prefix_ratio_high` or the highest of `prefix_stage_ratios`.",
    ),
}


def refuse_faults(scan: RowScan, column: str = "completion") -> None:
    """Raises a ValueError for the first row that a run would stop at, if there is one."""
    for kind, (fault, remedy) in _FAULTS.items():
        if found := scan.counts.get(kind):
            text = fault.format(note=found.note, column=column).rstrip(".")
            place = "" if text.startswith("Row ") else f"Row {found.first}, "
            raise ValueError(f"{place}{text} ({share_of(found.rows, scan)}). {remedy}".rstrip())


def share_of(number: int, scan: RowScan) -> str:
    return f"{number:,} of {'' if scan.is_complete else 'the first '}{scan.rows:,} rows"


def none_of(scan: RowScan) -> str:
    return f"None of {'the' if scan.is_complete else 'the first'} {scan.rows:,} rows"


def shuffle(scan: RowScan) -> str:
    """A remedy for what the first rows of a stream lack."""
    return "" if scan.is_complete else "shuffle the stream (`dataset.shuffle(buffer_size=...)`), "


def column_names(dataset: "Dataset | IterableDataset") -> list[str]:
    """The columns of a dataset. Raises a ValueError if it has no rows."""
    if getattr(dataset, "__len__", None) and len(dataset) > 0 and not is_transformed(dataset):  # nor streaming
        return dataset.column_names
    if (first := next(iter(dataset), None)) is None:
        raise ValueError("The training dataset is empty.")
    return list(first)


def refuse_columns(found: list[str], column: str | None) -> None:
    """Raises a ValueError, with the columns there are, if prompts, or demonstrations if there are any, have none."""
    columns = f"its columns are: {', '.join(found)}"
    if "prompt" not in found:
        raise ValueError(f"The training dataset has no column 'prompt'; {columns}.")
    if column is None:
        return
    if column not in found:
        raise ValueError(
            f"The training dataset has no column '{column}' for the demonstrations; {columns}. Set "
            f"`demonstration_column` to one of them, or {PLAIN_GRPO}."
        )
    if column == "prompt":
        raise ValueError(
            "`demonstration_column` is 'prompt', so each prompt would be trained as its own demonstration. Set it to "
            f"the column with the demonstrations; {columns}."
        )


def refuse_without_demonstrations(scan: RowScan, column: str) -> None:
    """Raises a ValueError if no row that was read has a demonstration of its own."""
    missing = scan.number("no_demonstration")
    if missing == scan.rows:
        raise ValueError(
            f"{none_of(scan)} has a demonstration: column '{column}' is empty everywhere. Fill it, {shuffle(scan)}set "
            f"`demonstration_column`, or {PLAIN_GRPO}."
        )
    if scan.number("demonstration_is_prompt") == scan.rows - missing:
        raise ValueError(
            f"{none_of(scan)} has a demonstration that is not its prompt: column '{column}' repeats the problem. Set "
            f"`demonstration_column` to the column with the demonstrations, or {PLAIN_GRPO}."
        )
