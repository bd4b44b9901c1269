"""The line on the terminal while libraries are imported."""

import importlib
import io
import os
import pty
import subprocess
import sys

import pytest

from prefix_rft_trl.cli import import_notice as module
from prefix_rft_trl.cli.import_notice import import_notice


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def import_for(tmp_path, monkeypatch):
    """Imports a module that takes as many seconds."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "INTERVAL", 0.02)

    def slow_import(seconds: float, stream: io.StringIO, error: str = "") -> str:
        (tmp_path / "slow_library").mkdir()
        (tmp_path / "slow_library" / "__init__.py").touch()
        (tmp_path / "slow_library" / "part.py").write_text(f"import time\ntime.sleep({seconds})\n{error}")
        importlib.invalidate_caches()
        try:
            with import_notice("train", stream, {"slow_library"}):
                importlib.import_module("slow_library.part")
        finally:
            for name in ("slow_library", "slow_library.part"):
                sys.modules.pop(name, None)
        return stream.getvalue()

    return slow_import


def test_a_slow_import_is_noticed_once(import_for):
    assert import_for(1.5, Terminal()) == "prefix-rft train: loading PyTorch, transformers and TRL ...\n"


def test_a_fast_import_is_not(import_for):
    assert import_for(0.05, Terminal()) == ""


def test_a_file_gets_no_notice(import_for):
    assert import_for(1.0, io.StringIO()) == ""


def test_an_import_that_fails_ends_the_watch(import_for):
    with pytest.raises(ZeroDivisionError):
        import_for(0.05, Terminal(), "1 / 0")


def test_a_command_on_a_terminal_says_that_it_loads(tmp_path):
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "__init__.py").write_text("import time\ntime.sleep(2.5)\nraise SystemExit(3)\n")
    ours, theirs = pty.openpty()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", "--config", "lab/prefix_rft"]
    folder = ["--output_dir", str(tmp_path / "run")]
    with subprocess.Popen([*command, *folder], stderr=theirs, env={**os.environ, "PYTHONPATH": path}) as process:
        assert process.wait() == 3
    os.close(theirs)
    assert b"prefix-rft train: loading PyTorch, transformers and TRL ..." in os.read(ours, 10_000)
    os.close(ours)
