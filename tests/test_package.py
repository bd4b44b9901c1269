import re
import subprocess
import sys
from pathlib import Path

import pytest

import prefix_rft_trl


ROOT = Path(__file__).parents[1]


HEAVY = ("torch", "transformers", "trl", "datasets", "accelerate")


@pytest.mark.parametrize("statement", ["import prefix_rft_trl", "from prefix_rft_trl import lab"])
def test_importing_the_package_imports_nothing_heavy(statement):
    report = f"{statement}; import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    imported = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True).stdout
    assert imported.split() == []


def test_public_names_can_be_imported():
    assert prefix_rft_trl.__all__ == ["PrefixGRPOConfig", "PrefixGRPOTrainer"]
    for name in prefix_rft_trl.__all__:
        assert getattr(prefix_rft_trl, name).__name__ == name
    assert {"__version__", *prefix_rft_trl.__all__} <= set(dir(prefix_rft_trl))


def test_misspelled_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'prefix_rft_trl' has no attribute 'PrefixGRPOTrianer'"):
        prefix_rft_trl.PrefixGRPOTrianer  # noqa: B018


def test_script_of_the_readme_prints_no_warning(tmp_path):
    script = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    script = script.replace("max_steps=10", "max_steps=1")
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "step 1/1: " in run.stdout
    printed = run.stdout + run.stderr
    assert [line for line in printed.splitlines() if "warn" in line.lower() or "deprecated" in line] == []
