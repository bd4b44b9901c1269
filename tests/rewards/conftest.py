import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefix_rft_trl.rewards import Verifier
from prefix_rft_trl.rewards.verification.worker_pool import WorkerPool


@pytest.fixture(scope="session")
def hostile() -> SimpleNamespace:
    """The names of hostile_answers.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("hostile_answers.py"))))


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    """Four workers for all tests that do not kill them: three of the hostile answers run into the time limit."""
    with Verifier(num_workers=4, time_limit=8.0) as shared:
        yield shared


@pytest.fixture(scope="session")
def worker_ids() -> Callable[[WorkerPool], set[int]]:
    """Process ids of the running workers."""
    return lambda workers: set(workers.running()._pool_manager.worker_manager.workers)
