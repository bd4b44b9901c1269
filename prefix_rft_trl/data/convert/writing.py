"""A dataset to a file that is there in whole or not at all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Features

SUFFIXES = (".parquet", ".jsonl")


def check_output(output: Path, overwrite: bool) -> None:
    """Raises a ValueError if the file is of another kind than those that are written, or is there already."""
    if output.suffix not in SUFFIXES:
        raise ValueError(f"the output ends in {' or '.join(SUFFIXES)}, found {str(output)!r}.")
    if output.is_dir():
        raise ValueError(f"the output is a file, and {str(output)!r} is a folder.")
    if output.exists() and not overwrite:
        raise ValueError(f"{str(output)!r} exists already. Name another file, or add --overwrite.")


def write(path: Path, batches: Iterable[list[dict[str, Any]]], features: "Features") -> None:
    """Rows to Parquet, a group of rows a batch, or to JSONL, by the suffix."""
    (_write_parquet if path.suffix == ".parquet" else _write_jsonl)(path, batches, features)


def _write_parquet(path: Path, batches: Iterable[list[dict[str, Any]]], features: "Features") -> None:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batches:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _write_jsonl(path: Path, batches: Iterable[list[dict[str, Any]]], features: "Features") -> None:
    with path.open("w", encoding="utf-8") as file:
        for rows in batches:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
