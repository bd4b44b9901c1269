"""A model's samples for several benchmarks, made by this process or by several that have the model each."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.sampling.generate import encode_prompts
from prefix_rft_trl.utils.processes import end_with_parent, end_workers

from .benchmark import Benchmark
from .engines import Engine
from .samples import Sample, SampleFolder
from .sampling import Chunk, Sampler, chunks_of, seeds_of


Told = Callable[[int], object]

Share = list[tuple[Benchmark, Chunk]]


ENGINE_APART = "VLLM_ENABLE_V1_MULTIPROCESSING"  # vLLM would start one more process in the one that is made for it


def sample_all(source: ModelSource, benchmarks: list[Benchmark], folder: Path, engine: Engine, told: Told) -> None:
    """Samples what is not on disk yet. A model is only loaded if anything is.

    Args:
        source (`ModelSource`): the model.
        benchmarks (`list[Benchmark]`): what it is asked.
        folder (`Path`): of the model; each benchmark has one in it.
        engine (`Engine`): what runs the model.
        told (`Callable`): hears of how many samples have been written.

    Raises:
        RuntimeError: if one of several processes dies. What has been sampled is kept.
    """
    missing = [
        (benchmark, chunk) for benchmark in benchmarks for chunk in missing_chunks(benchmark, folder / benchmark.name)
    ]
    if not missing:
        return
    number = min(engine.data_parallel_size, len(missing))
    if number == 1 and not engine.needs_own_process:
        _sample_share(source, missing, folder, engine, told)
        return
    with ProcessPoolExecutor(number, get_context("spawn"), end_with_parent) as pool:
        shares = [
            pool.submit(_in_a_process, source, missing[rank::number], folder, engine, rank) for rank in range(number)
        ]
        try:
            _wait(shares, missing, folder, told)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_workers()  # the others would sample their whole share before anybody heard of it
            raise


def _wait(shares: list[Future], missing: Share, folder: Path, told: Told) -> None:
    while not all(share.done() for share in shares) and not any(
        share.done() and share.exception() for share in shares
    ):
        time.sleep(0.2)
        left = [(of, chunk) for of, chunk in missing if not SampleFolder(folder / of.name).has(chunk)]
        if len(left) < len(missing):
            told(sum(len(chunk.places) for _, chunk in missing) - sum(len(chunk.places) for _, chunk in left))
        missing = left
    for share in sorted(shares, key=Future.done, reverse=True):
        try:
            share.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A process of the evaluation was ended from outside, perhaps since memory ran out. What it had "
                "sampled is kept: the same command goes on, and takes less memory with a smaller `--batch_size`."
            ) from error


def _in_a_process(source: ModelSource, share: Share, folder: Path, engine: Engine, rank: int) -> None:
    os.environ["LOCAL_WORLD_SIZE"] = str(engine.data_parallel_size)  # verifiers share the cores by it
    os.environ.setdefault(ENGINE_APART, "0")
    _take_devices(rank, engine.tensor_parallel_size)
    _take_cores(engine.data_parallel_size)
    _sample_share(source, share, folder, engine, lambda samples: None)


def _take_devices(rank: int, number: int) -> None:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(place) for place in range((rank + 1) * number)] if visible is None else visible.split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices[rank * number : (rank + 1) * number])


def _take_cores(processes: int) -> None:
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))


def _sample_share(source: ModelSource, share: Share, folder: Path, engine: Engine, told: Told) -> None:
    loaded = engine.load(source)
    for name, of_benchmark in groupby(share, key=lambda part: part[0].name):
        parts = list(of_benchmark)
        fill_folder(parts[0][0], folder / name, *loaded, [chunk for _, chunk in parts], told)


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
