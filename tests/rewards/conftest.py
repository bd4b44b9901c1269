from collections.abc import Callable, Iterator

import pytest

from prefix_rft_trl.rewards import Verifier
from prefix_rft_trl.rewards.verification.worker_pool import WorkerPool


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    """Four workers for all tests that do not kill them: of the hostile answers three run into the time limit."""
    with Verifier(num_workers=4, time_limit=8.0) as shared:
        yield shared


@pytest.fixture(scope="session")
def worker_ids() -> Callable[[WorkerPool], set[int]]:
    """Process ids of the workers that run now."""
    return lambda workers: set(workers.running()._pool_manager.worker_manager.workers)
