"""One model on one benchmark: samples what is not on disk yet, and writes it there as it comes."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prefix_rft_trl.sampling.generate import encode_prompts

from .benchmark import Benchmark
from .samples import Sample, SampleFolder
from .sampling import Chunk, Sampler, chunks_of, seeds_of


def sample_chunks(
    benchmark: Benchmark, sampler: Sampler, tokenizer: Any, ends: list[int], chunks: Iterable[Chunk]
) -> Iterator[tuple[Chunk, list[Sample]]]:
    """Each of the chunks with its samples, scored."""
    prompts = encode_prompts(tokenizer, list(benchmark.rows["prompt"]), benchmark.template_kwargs)
    for chunk in chunks:
        seeds = seeds_of(chunk, benchmark.name, benchmark.sampling.seed)
        ids = sampler([prompts[place.problem] for place in chunk.places], benchmark.sampling, seeds)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        yield chunk, benchmark.score(chunk, ids, texts, ends)


def missing_chunks(benchmark: Benchmark, folder: Path) -> list[Chunk]:
    """The chunks of a benchmark that are not on disk."""
    there = SampleFolder(folder)
    return [chunk for chunk in chunks_of(len(benchmark.rows), benchmark.sampling) if not there.has_whole(chunk)]


def fill_folder(
    benchmark: Benchmark,
    folder: Path,
    sampler: Sampler,
    tokenizer: Any,
    ends: list[int],
    chunks: Iterable[Chunk],
    told: Callable[[int], object] = lambda samples: None,
) -> None:
    """Samples chunks and writes each as soon as it is there; `told` hears of how many samples."""
    there = SampleFolder(folder)
    for chunk, samples in sample_chunks(benchmark, sampler, tokenizer, ends, chunks):
        there.write(chunk, samples)
        told(len(samples))


def read_samples(benchmark: Benchmark, folder: Path) -> list[Sample]:
    """All samples of a benchmark, which are all on disk."""
    return list(SampleFolder(folder).read(chunks_of(len(benchmark.rows), benchmark.sampling)))
