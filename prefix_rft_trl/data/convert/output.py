"""Write converted rows, whose columns have one type in all rows, to Parquet or JSONL."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from prefix_rft_trl.data.held_out import HELD_OUT
from prefix_rft_trl.utils.files import ParquetSink


if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True)
class RowFormat:
    """The types that all rows of a file share.

    Attributes:
        plain_text (`bool`): prompts and completions are text instead of messages.
        several_demonstrations (`bool`): a completion is a list of demonstrations, since some row has several.
        several_answers (`bool`): a solution is a list of acceptable answers, since some row has several.
    """

    plain_text: bool
    several_demonstrations: bool
    several_answers: bool

    def columns(self, demonstrations: list[str], golds: list[str]) -> dict[str, Any]:
        """The columns `completion` and `solution` of a row."""
        return {
            "completion": self.completion(demonstrations),
            "solution": golds if self.several_answers else golds[0],
        }

    def completion(self, demonstrations: list[str]) -> Any:
        """The demonstrations of a row, text or messages, in a list if some row has several; without any, an empty one.

        Readers that infer types from the first rows, and TRL's test for messages, need that in its place.
        """
        texts = demonstrations or [""]
        completions = texts if self.plain_text else [[{"role": "assistant", "content": text}] for text in texts]
        return completions if self.several_demonstrations else completions[0]


def output_files(output: Path, is_divided: bool) -> list[Path]:
    """The file to write; with held-out problems the files `train` and `test` of a folder without that suffix."""
    if not is_divided:
        return [output]
    suffix = output.suffix if output.suffix in SUFFIXES else SUFFIXES[0]
    folder = output.with_suffix("") if output.suffix in SUFFIXES else output
    return [folder / f"{split}{suffix}" for split in ("train", HELD_OUT)]


def check_output(output: Path, overwrite: bool) -> None:
    """Raises a ValueError if the output has another suffix than those that can be written, or exists already."""
    check_suffix(output)
    if output.exists() and not overwrite:
        raise ValueError(f"{str(output)!r} exists already. Name another file, or add --overwrite.")


def check_suffix(output: Path) -> None:
    """Raises a ValueError if the output has another suffix than those that can be written, or is a folder."""
    if output.suffix not in SUFFIXES:
        raise ValueError(f"the output must end in {' or '.join(SUFFIXES)}, found {str(output)!r}.")
    if output.is_dir():
        raise ValueError(f"the output must be a file, and {str(output)!r} is a folder.")


def write_rows(rows: "Dataset", path: Path) -> None:
    """Writes Parquet or JSONL, by the suffix."""
    if path.suffix == ".parquet":
        with ParquetSink(path) as sink:
            rows.to_parquet(cast(BinaryIO, sink))
        return
    with path.open("w", encoding="utf-8") as file:  # `to_json` would write every / as \/
        file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
