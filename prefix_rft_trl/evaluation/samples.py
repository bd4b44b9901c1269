"""Keep samples on disk: one Parquet file for each chunk, complete or not there at all."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import ParquetSink, atomic_file

from .sampling import Chunk, Place


@dataclass(frozen=True)
class Sample:
    """
    One scored answer to a problem.

    Attributes:
        problem, sample (`int`): numbers of the problem in the benchmark and of the answer to it, from 0.
        text (`str`): the answer.
        answer (`str` or `None`): the final answer that it states.
        reward (`float` or `None`): the verifier's; `None` if no right answer of the problem can be read.
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


@dataclass(frozen=True)
class LikelySample(Sample):
    """
    A scored answer with its likelihood.

    Attributes:
        log_probability (`float`): mean log-probability of a token, the one that ends the answer too, under the model
            at temperature 1.
    """

    log_probability: float


class SampleFolder:
    """The samples of a model for a benchmark, of one kind, in a folder of their own."""

    def __init__(self, folder: Path, kind: type[Sample] = Sample):
        self.folder, self.kind = folder, kind

    def write(self, chunk: Chunk, samples: Iterable[Sample]) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        types = {"problem": pa.int32(), "sample": pa.int32(), "text": pa.string(), "answer": pa.string()}
        types |= {"reward": pa.float64(), "tokens": pa.int32(), "is_truncated": pa.bool_()}
        types |= {"log_probability": pa.float64()} if "log_probability" in self._columns else {}
        rows = pa.Table.from_pylist([asdict(sample) for sample in samples], pa.schema(types))
        with atomic_file(self._file(chunk)) as partial, ParquetSink(partial) as sink:
            pq.write_table(rows, sink, write_page_checksum=True)

    def has(self, chunk: Chunk) -> bool:
        return self._file(chunk).is_file()

    def missing(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """The chunks that are not there, or are damaged. The file of one that is damaged is deleted."""
        missing = [chunk for chunk in chunks if not self._is_sound(chunk)]
        for chunk in missing:
            self._file(chunk).unlink(missing_ok=True)
        return missing

    def _is_sound(self, chunk: Chunk) -> bool:
        """Whether all of a file can be read, checksums too, and has the samples of this chunk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if not self.has(chunk):
                return False
            found = pq.read_table(self._file(chunk), page_checksum_verification=True)
            places = map(Place, found["problem"].to_pylist(), found["sample"].to_pylist())
        except (pa.ArrowException, OSError, KeyError):
            return False
        return found.column_names == self._columns and tuple(places) == chunk.places

    def read(self, chunks: Iterable[Chunk], with_texts: bool = False) -> Iterator[Any]:
        """The samples, by default without their texts, which scores do not need and which fill most of the disk."""
        import pyarrow.parquet as pq

        columns = [name for name in self._columns if name != "text" or with_texts]
        for chunk in chunks:
            for row in pq.read_table(self._file(chunk), columns=columns).to_pylist():
                yield self.kind(**{"text": "", **row})

    @property
    def _columns(self) -> list[str]:
        return [field.name for field in fields(self.kind)]

    def _file(self, chunk: Chunk) -> Path:
        return self.folder / f"samples-{chunk.index:06d}.parquet"
