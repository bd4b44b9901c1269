"""Sample the missing chunks of an evaluation, in this process or in several that load the model each."""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.utils.errors import WorkError
from prefix_rft_trl.utils.processes import end_with_parent, end_workers
from prefix_rft_trl.utils.shared_memory import check_semaphores

from .benchmark import Benchmark
from .engines import Engine
from .sampling import Chunk


Share = list[tuple[Benchmark, Chunk]]
OnProgress = Callable[[int], object]

ENGINE_APART = "VLLM_ENABLE_V1_MULTIPROCESSING"  # vLLM would start one more process in the one that is made for it


def sample_chunks(source: ModelSource, missing: Share, folder: Path, engine: Engine, on_progress: OnProgress) -> None:
    """Samples chunks and writes each as soon as it is complete.

    Args:
        source (`ModelSource`): the model.
        missing (`list[tuple[Benchmark, Chunk]]`): the chunks to sample, with their benchmarks.
        folder (`Path`): the model's; each benchmark has a folder of its name in it.
        engine (`Engine`): what runs the model.
        on_progress (`Callable`): called with the number of samples written since the call before.

    Raises:
        WorkError: if one of several processes dies. What has been written stays.
    """
    number = min(engine.data_parallel_size, len(missing))
    if number == 1 and not engine.needs_own_process:
        _sample_share(source, missing, folder, engine, on_progress)
        return
    check_semaphores()
    with ProcessPoolExecutor(number, get_context("spawn"), end_with_parent) as pool:
        shares = [
            pool.submit(_sample_in_process, source, missing[rank::number], folder, engine, rank)
            for rank in range(number)
        ]
        try:
            _wait(shares, missing, folder, on_progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_workers()  # the others would sample their complete share before the error is reported
            raise


def _wait(shares: list[Future], missing: Share, folder: Path, on_progress: OnProgress) -> None:
    while not all(share.done() for share in shares) and not any(
        share.done() and share.exception() for share in shares
    ):
        time.sleep(0.2)
        is_written = [benchmark.samples_in(folder).has(chunk) for benchmark, chunk in missing]
        on_progress(sum(len(part[1].places) for part, done in zip(missing, is_written, strict=True) if done))
        missing = [part for part, done in zip(missing, is_written, strict=True) if not done]
    for share in sorted(shares, key=Future.done, reverse=True):
        try:
            share.result()
        except BrokenProcessPool as error:
            raise WorkError(
                "A process of the evaluation was ended from outside, perhaps because memory ran out. Its samples are "
                "kept: the same command resumes, and takes less memory with a smaller `--batch_size`."
            ) from error


def _sample_in_process(source: ModelSource, share: Share, folder: Path, engine: Engine, rank: int) -> None:
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


def _sample_share(source: ModelSource, share: Share, folder: Path, engine: Engine, on_progress: OnProgress) -> None:
    model = engine.load(source)
    for benchmark, chunk in share:
        samples = benchmark.score(chunk, benchmark.sample(model, chunk))
        benchmark.samples_in(folder).write(chunk, samples)
        on_progress(len(samples))
