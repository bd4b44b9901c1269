import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient


NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> str:
    notebook = nbformat.read(NOTEBOOKS / "01_lab.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": tmp_path_factory.mktemp("notebook")}}
    ).execute()
    return "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output
    )


def test_the_lab_notebook_shows_the_effect_from_top_to_bottom(outputs):
    accuracy = {name: float(value) for name, value in re.findall(r"^(\S+) +accuracy (\d\.\d\d)", outputs, re.M)}
    assert accuracy["GRPO"] <= 0.30
    assert accuracy["Prefix-RFT"] >= 0.80


def test_the_lab_notebook_shows_where_the_prefix_ends(outputs):
    assert re.search(r"^hybrid +[\d+*=;-]+▌", outputs, re.M)


def test_no_notebook_is_committed_with_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") for cell in cells), path.name
