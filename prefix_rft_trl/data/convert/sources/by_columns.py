"""Datasets whose columns are named by the user: TRL's SFT formats with an answer beside them, or any at all."""

from collections.abc import Sequence

from prefix_rft_trl.data.convert.rows import Problem, Unusable, solution_of

from .reading import Reader, Row, check_columns, column_of, demonstrations_at, prompt_at, value_at


def columns(
    found: Sequence[str],
    prompt_column: str = "prompt",
    demonstration_column: str = "completion",
    answer_column: str = "solution",
) -> Reader:
    """A mapping by the names of columns. `a.b` is what the column `a` holds under `b`.

    Args:
        found (`Sequence[str]`): columns of the dataset.
        prompt_column (`str`): text or messages.
        demonstration_column (`str`): text, one assistant message, or a list of either.
        answer_column (`str`): text, a number, or a list of acceptable answers.

    Raises:
        ValueError: if a column is missing.
    """
    needed = [column_of(path, found) for path in (prompt_column, demonstration_column, answer_column)]
    mend = " Set `--prompt_column`, `--demonstration_column` and `--answer_column`."
    check_columns("columns", needed, found, mend)

    def read(row: Row) -> Problem:
        return Problem(
            prompt_at(value_at(row, prompt_column)),
            demonstrations_at(value_at(row, demonstration_column)),
            solution_of(value_at(row, answer_column)),
        )

    return Reader(list(dict.fromkeys(needed)), read)


def prompt_completion(found: Sequence[str], answer_column: str = "solution") -> Reader:
    """TRL's formats for SFT: `prompt` and `completion`, or `messages`, whose last is the demonstration.

    Args:
        found (`Sequence[str]`): columns of the dataset.
        answer_column (`str`): text, a number, or a list of acceptable answers.

    Raises:
        ValueError: if a column is missing.
    """
    of_sft = ["messages"] if "messages" in found and "completion" not in found else ["prompt", "completion"]
    needed = [*of_sft, column_of(answer_column, found)]
    check_columns("prompt-completion", needed, found, " Set `--answer_column` to the column of the answers.")
    if "messages" not in of_sft:
        return columns(found, answer_column=answer_column)

    def read(row: Row) -> Problem:
        messages = row["messages"] or []
        if not messages or messages[-1].get("role") != "assistant":
            raise Unusable("messages that do not end with an assistant's")
        prompt, demonstration = prompt_at(messages[:-1]), demonstrations_at(messages[-1:])
        return Problem(prompt, demonstration, solution_of(value_at(row, answer_column)))

    return Reader(list(dict.fromkeys(needed)), read)
