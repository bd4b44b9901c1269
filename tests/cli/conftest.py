import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prefix_rft() -> Run:
    """Runs the command line in a process of its own, as a user does."""

    def run(*arguments: str, cwd=None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "prefix_rft_trl.cli.main", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)

    return run


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """Runs a command line that is refused; returns what it prints."""

    def run(*arguments: object) -> str:
        assert main(list(map(str, arguments))) == 2
        return capsys.readouterr().err

    return run


@pytest.fixture
def lab_recipe(tmp_path) -> Callable[..., Path]:
    """Writes the lab's recipe of Prefix-RFT with other settings."""

    def write(**changes: object) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load((FOLDER / "lab/prefix_rft.yaml").read_text()), **changes}))
        return path

    return write
