import subprocess
import sys
from collections.abc import Callable

import pytest


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prefix_rft(tmp_path) -> Run:
    """Runs the command line in a process of its own, as a user does."""

    def run(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefix_rft_trl.cli.main", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)

    return run
