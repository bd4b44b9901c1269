"""Samples on disk: a Parquet file for each chunk, which is there whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .sampling import Chunk


@dataclass(frozen=True)
class Sample:
    """
    One answer to a problem.

    Attributes:
        problem, sample (`int`): which of the benchmark, and which of the problem, counted from 0.
        text (`str`): the answer.
        answer (`str` or `None`): the final answer that it states.
        reward (`float` or `None`): of the verifier; `None` if no right answer of the problem can be read.
        tokens (`int`): its length.
        is_truncated (`bool`): whether the budget has cut it off.
    """

    problem: int
    sample: int
    text: str
    answer: str | None
    reward: float | None
    tokens: int
    is_truncated: bool


class SampleFolder:
    """The samples of a model for a benchmark, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, chunk: Chunk, samples: Iterable[Sample]) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        types = {"problem": pa.int32(), "sample": pa.int32(), "text": pa.string(), "answer": pa.string()}
        types |= {"reward": pa.float64(), "tokens": pa.int32(), "is_truncated": pa.bool_()}
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{self._name(chunk)}.{os.getpid()}"
        with partial.open("wb") as file:
            pq.write_table(pa.Table.from_pylist([asdict(sample) for sample in samples], pa.schema(types)), file)
            file.flush()
            os.fsync(file.fileno())  # or the name could outlive the content when the machine goes down
        partial.replace(self.folder / self._name(chunk))

    def has(self, chunk: Chunk) -> bool:
        return (self.folder / self._name(chunk)).is_file()

    def has_whole(self, chunk: Chunk) -> bool:
        """Whether it is there and can be read; one that cannot is deleted."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.folder / self._name(chunk)
        try:
            is_whole = file.is_file() and pq.read_metadata(file).num_rows == len(chunk.places)
        except (pa.ArrowException, OSError):
            is_whole = False
        if not is_whole:
            file.unlink(missing_ok=True)
        return is_whole

    def read(self, chunks: Iterable[Chunk]) -> Iterator[Sample]:
        """The samples without their texts, which figures do not need and which are most of what is on disk."""
        import pyarrow.parquet as pq

        columns = [field.name for field in fields(Sample) if field.name != "text"]
        for chunk in chunks:
            for row in pq.read_table(self.folder / self._name(chunk), columns=columns).to_pylist():
                yield Sample(**row, text="")

    def _name(self, chunk: Chunk) -> str:
        return f"samples-{chunk.index:06d}.parquet"
