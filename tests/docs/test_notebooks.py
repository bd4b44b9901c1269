"""Every notebook runs from top to bottom and shows what its text says; its stored outputs are those of such a run.

With `STORE_NOTEBOOKS=1` in the environment these tests store the new outputs.
"""

import base64
import os
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from prefix_rft_trl import lab


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:tmp|home|root|work|usr|var|opt|mnt|private|Users)/|[A-Z]:\\")
PROJECT = tomllib.loads((NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
LARGEST_NOTEBOOK, LARGEST_PICTURE = 400_000, 60_000  # bytes


def run(name: str, folder: Path) -> NotebookNode:
    """Executes a notebook in a folder of its own; its outputs are of the same kinds as the stored ones."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    stored, metadata = [kinds_of(cell) for cell in notebook.cells], notebook.metadata.copy()
    place = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=600, record_timing=False, coalesce_streams=True, resources=place).execute()
    if os.environ.get("STORE_NOTEBOOKS"):
        notebook.metadata = metadata  # without the version of Python that ran it
        nbformat.write(notebook, NOTEBOOKS / name)
    else:
        assert [kinds_of(cell) for cell in notebook.cells] == stored
    return notebook


def kinds_of(cell: NotebookNode) -> list[str]:
    return [kind for output in cell.get("outputs", []) for kind in sorted(output.get("data", [output.get("name")]))]


def texts_of(notebook: NotebookNode) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


def pictures_of(notebook: NotebookNode) -> list[bytes]:
    found = [output.get("data", {}).get("image/png") for cell in notebook.cells for output in cell.get("outputs", [])]
    return [base64.b64decode(picture) for picture in found if picture]


def values_of(name: str, text: str) -> list[float]:
    """The numbers of a line such as `prefix/length  31.0  24.5`."""
    found = re.search(rf"^{re.escape(name)} +([-+. \d]+)$", text, re.M)
    assert found, name
    return [float(value) for value in found[1].split()]


def test_lab_notebook_shows_the_effect_and_the_end_of_the_prefix(tmp_path):
    text = "\n".join(texts_of(run("01_lab.ipynb", tmp_path)))
    accuracy = {name: float(value) for name, value in re.findall(r"^(\S+) +accuracy (\d\.\d\d)", text, re.M)}
    assert accuracy["GRPO"] <= 0.30
    assert accuracy["Prefix-RFT"] >= 0.80
    assert re.search(r"^hybrid +[\d+*=;-]+▌", text, re.M)
    hybrid, *on_policy = map(float, re.search(r"^advantages \[(.+)\]$", text, re.M)[1].split(", "))
    assert hybrid > 0.8
    assert max(on_policy) < 0


def test_four_lines_change_a_grpo_script_and_without_prefixes_its_weights_are_the_same(tmp_path):
    texts = texts_of(run("02_drop_in.ipynb", tmp_path))
    text = "\n".join(texts)

    difference = next(text for text in texts if "+++ prefix_rft.py" in text)
    assert len(re.findall(r"^-(?!--)", difference, re.M)) == len(re.findall(r"^\+(?!\+\+)", difference, re.M)) == 4

    same, tensors, largest = re.search(r"^no_prefixes.py +(\d+) of (\d+) .* (\S+)$", text, re.M).groups()
    assert int(same) == int(tensors) > 0
    assert float(largest) == 0
    assert re.search(r"^prefix_rft.py +0 of", text, re.M)

    accuracy = {name: float(value) for name, value in re.findall(r"^(\S+) +held-out accuracy (\d\.\d\d)", text, re.M)}
    assert accuracy["GRPO"] <= 0.30
    assert accuracy["Prefix-RFT"] >= 0.60

    assert "'dapo' -> 'dr_grpo'" in text
    assert all(values_of("prefix/length", text))
    assert len(values_of("prefix/advantage", text)) == 6
    assert "has no column 'completion'" in text
    assert all(0 < share < 1 for share in values_of("prefix/demonstration_share", text))


def test_a_batch_by_hand_equals_that_of_the_package(tmp_path):
    notebook = run("03_inside_a_prefix.ipynb", tmp_path)  # it asserts all along
    text = "\n".join(texts_of(notebook))
    prefix_tokens, selected = map(int, re.search(r"^(\d+) prefix tokens, (\d+) selected", text, re.M).groups())
    assert 0.15 < selected / prefix_tokens < 0.25
    assert float(re.search(r"^[\d,]+ parameters, norm of the gradient ([\d.]+)", text, re.M)[1]) > 0
    assert float(re.search(r"beta ([-+][\d.]+)$", text, re.M)[1]) != 0
    assert len(pictures_of(notebook)) == 5


def test_methods_are_compared_with_intervals_and_paired_differences(tmp_path):
    text = "\n".join(texts_of(run("04_compare.ipynb", tmp_path)))
    means = dict(re.findall(r"^(GRPO|Prefix-RFT) +(\d\.\d{3}) \(\d\.\d{3} to \d\.\d{3}\)", text, re.M))
    assert float(means["GRPO"]) < float(means["Prefix-RFT"])
    low, high = map(float, re.search(r"95% interval ([-+][\d.]+) to ([-+][\d.]+)$", text, re.M).groups())
    assert low - 0.001 <= float(means["Prefix-RFT"]) - float(means["GRPO"]) <= high + 0.001  # of rounded figures


def test_a_real_model_has_finished_curves_and_trains_two_steps(tmp_path, tiny_smollm2):
    text = "\n".join(texts_of(run("05_real_model.ipynb", tmp_path)))
    finals = dict(re.findall(r"^(\S.*\S) +seed 0: .*(\d\.\d\d) +\d+ min$", text, re.M))
    rows = lab.recorded_results()["tables"][0]["rows"]
    first_runs = {row["label"]: row["experiments"][0]["runs"][0] for row in rows}
    assert finals == {label: f"{run['curve'][-1]['accuracy']:.2f}" for label, run in first_runs.items()}
    assert len(values_of("prefix/reward_hybrid", text)) == len(values_of("step_time", text)) == 2


def test_a_model_learns_to_call_a_tool(tmp_path):
    text = "\n".join(texts_of(run("06_agents.ipynb", tmp_path)))
    found = re.findall(r"^(before|after): (\d\.\d\d) right, (\d\.\d\d) calls in a conversation$", text, re.M)
    (_, guessed, calls_before), (_, right, calls) = found
    assert float(guessed) < 0.25
    assert float(calls_before) < 0.1
    assert float(right) > 0.75
    assert float(calls) > 1.5
    assert len(values_of("prefix/reward_hybrid", text)) == 5


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_of_one_run_without_errors_and_local_paths(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not [text for text in (*texts_of(notebook), *(cell.source for cell in code)) if ABSOLUTE_PATH.search(text)]
    assert not [cell.source for cell in code if shows_something(cell.source) and not cell.outputs]


def shows_something(source: str) -> bool:
    """Whether a cell prints or draws, outside of its functions."""
    top_level = re.sub(r"^def .*\n(?:(?: .*)?\n)*", "", source, flags=re.M)
    return re.search(r"^(?: {4})*(?:print|show\w*|compare|plt\.show)\(", top_level, re.M) is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_has_no_metadata_of_the_run(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert (NOTEBOOKS / name).stat().st_size < LARGEST_NOTEBOOK
    assert all(len(picture) < LARGEST_PICTURE for picture in pictures_of(notebook))
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell.metadata for cell in notebook.cells if cell.metadata]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_opens_in_colab_and_begins_with_imports_and_one_line(name):
    title, first, *_ = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    assert f"(https://colab.research.google.com/github/{REPOSITORY}/blob/main/notebooks/{name})" in title.source
    install, *lines = first.source.splitlines()
    assert install == f"# On Colab, first: %pip install -q git+https://github.com/{REPOSITORY}"
    others = [line for line in lines if line and not re.match(r"(?:import|from) |[A-Z, ]+ = ", line)]
    assert others == ["lab.prepare_notebook()"]
