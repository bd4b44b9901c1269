"""Read any dataset by its columns: TRL's SFT formats with a column of answers, or columns that the user names."""

from collections.abc import Sequence
from typing import Any

from prefix_rft_trl.data.convert.rows import SourceProblem, Unusable

from .reading import Reader, SourceRow, check_columns, read_demonstrations, read_prompt, read_solution


def columns(
    found: Sequence[str],
    prompt_column: str = "prompt",
    demonstration_column: str = "completion",
    answer_column: str = "solution",
) -> Reader:
    """A reader of named columns; `a.b` is the value under `b` in column `a`."""
    needed = [_outer_column(path, found) for path in (prompt_column, demonstration_column, answer_column)]
    hint = " Set `--prompt_column`, `--demonstration_column` and `--answer_column`."

    def read(row: SourceRow) -> SourceProblem:
        return SourceProblem(
            read_prompt(_nested_value(row, prompt_column)),
            read_demonstrations(_nested_value(row, demonstration_column)),
            read_solution(_nested_value(row, answer_column)),
        )

    return Reader(check_columns("columns", needed, found, hint), read)


def prompt_completion(found: Sequence[str], answer_column: str = "solution") -> Reader:
    """A reader of TRL's SFT formats: `prompt` and `completion`, or `messages` that end with the demonstration."""
    has_messages = "messages" in found and "completion" not in found
    needed = [*(["messages"] if has_messages else ["prompt", "completion"]), _outer_column(answer_column, found)]
    needed = check_columns("prompt-completion", needed, found, " Name that of the answers with `--answer_column`.")
    if not has_messages:
        return columns(found, answer_column=answer_column)

    def read(row: SourceRow) -> SourceProblem:
        messages = row["messages"] or []
        if not messages or messages[-1].get("role") != "assistant":
            raise Unusable("messages that do not end with an assistant message")
        prompt, demonstrations = read_prompt(messages[:-1]), read_demonstrations(messages[-1:])
        return SourceProblem(prompt, demonstrations, read_solution(_nested_value(row, answer_column)))

    return Reader(needed, read)


def _nested_value(row: SourceRow, path: str) -> Any:
    """The value of a column, or of `reward_model.ground_truth`: the value under `ground_truth` in `reward_model`."""
    if path in row:
        return row[path]
    name, *keys = path.split(".")
    value = row[name]
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _outer_column(path: str, found: Sequence[str]) -> str:
    """The column that holds the value at a path."""
    return path if path in found else path.split(".")[0]
