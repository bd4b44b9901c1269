"""The wheel, built without a network and installed into a folder of its own, works where there is no checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl import __version__
from prefix_rft_trl.trainer import PAPER


ROOT = Path(__file__).parents[1]
FOLDERS = ["prefix_rft_trl", "recipes"]
FILES = ["pyproject.toml", "MANIFEST.in", "README.md", "setup.py", "LICENSE", "CHANGELOG.md", "CITATION.cff"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir"]


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """What the package is built from, without what earlier builds have left in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_of_the_repository.py").touch()
    return folder


def build_wheel(source: Path, into: Path) -> Path:
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), ".", cwd=source)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=target)
    return target


@pytest.fixture
def in_the_wheel(installed, tmp_path):
    """Runs Python in an empty folder, with the package of the wheel."""

    def run_python(*arguments: str) -> str:
        return run(sys.executable, *arguments, cwd=tmp_path, PYTHONPATH=str(installed))

    return run_python


def files_below(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "__pycache__" not in path.parts}


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_wheel_has_the_files_of_the_package_only(wheel):
    package = {f"prefix_rft_trl/{name}" for name in files_below(ROOT / "prefix_rft_trl")}
    package |= {f"prefix_rft_trl/recipes/{name}" for name in files_below(ROOT / "recipes")}
    assert {name for name in names_in(wheel) if ".dist-info/" not in name} == package
    assert "prefix_rft_trl/py.typed" in package  # or type checkers ignore the types


def test_recipe_folders_are_no_packages(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        top_level = archive.read(f"prefix_rft_trl-{__version__}.dist-info/top_level.txt").decode()
    assert top_level.split() == ["prefix_rft_trl"]
    found = run(
        sys.executable,
        "-c",
        "from setuptools.config.pyprojecttoml import read_configuration as read;"
        "print(*read('pyproject.toml', ignore_option_errors=True)['tool']['setuptools']['packages'])",
        cwd=source,
    ).split()
    assert "prefix_rft_trl.lab" in found
    assert not [name for name in found if "recipes" in name or name.endswith("base_model")]


def test_recipes_and_their_list_come_with_the_wheel(in_the_wheel, installed):
    place = in_the_wheel("-c", "import prefix_rft_trl; print(prefix_rft_trl.__file__)").strip()
    assert Path(place).is_relative_to(installed)
    assert files_below(installed / "prefix_rft_trl" / "recipes") == files_below(ROOT / "recipes")
    listed = in_the_wheel("-m", "prefix_rft_trl.cli.main", "recipes")
    assert "lab/prefix_rft" in listed


def test_lab_runs_from_the_wheel(in_the_wheel, tmp_path):
    said = in_the_wheel("-m", "prefix_rft_trl.cli.main", "lab", "--steps", "10")
    assert "Prefix-RFT" in said
    assert (tmp_path / "runs" / "lab" / "curves.png").is_file()


def test_sdist_makes_the_same_wheel(source, wheel, tmp_path):
    run(
        sys.executable,
        "-c",
        "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])",
        str(tmp_path),
        cwd=source,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    assert not (unpacked / "tests").exists()
    assert names_in(build_wheel(unpacked, tmp_path / "again")) == names_in(wheel)


def test_version_is_the_same_everywhere(wheel):
    changelog = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert changelog[0] == citation["version"] == __version__
    assert wheel.name.startswith(f"prefix_rft_trl-{__version__}-")


def test_citation_is_that_of_the_model_cards():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    assert cited["title"] == PAPER["title"]
    assert PAPER["id"] in cited["url"]
    assert f"year         = {cited['year']}" in PAPER["citation"]
    assert cited["conference"]["name"] in PAPER["citation"]
    authors = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in cited["authors"])
    assert authors in re.sub(r"\s+", " ", PAPER["citation"])


# The public repository


REPOSITORY = re.compile(r"(?:github\.com|google\.com/github)/([\w.-]+/prefix_rft_trl)")


@pytest.fixture(scope="module")
def repository() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def test_owner_of_the_repository_stands_in_one_place(repository):
    assert repository.startswith("https://github.com/")
    slug = repository.removeprefix("https://github.com/")
    texts = [*ROOT.glob("*.*"), *ROOT.glob(".github/**/*.*"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*")]
    named = {str(path.relative_to(ROOT)): REPOSITORY.findall(path.read_text()) for path in texts if path.is_file()}
    named = {path: found for path, found in named.items() if found}
    assert {name for found in named.values() for name in found} == {slug}, (
        "one name, for links that cannot be relative too"
    )
    assert [path for path in named if not path.startswith("notebooks/")] == ["pyproject.toml"]


def test_links_and_pictures_of_the_readme_work_on_pypi(wheel, repository):
    with zipfile.ZipFile(wheel) as archive:
        description = archive.read(f"prefix_rft_trl-{__version__}.dist-info/METADATA").decode()
    readme, links = (ROOT / "README.md").read_text(), re.compile(r"\]\(([^()\s]+)\)")
    assert description.count("](") == readme.count("](")
    assert "![Held-out" in description
    for found, written in zip(links.findall(description), links.findall(readme), strict=True):
        raw = repository.replace("github.com", "raw.githubusercontent.com")
        root = f"{raw}/main/" if written.endswith((".png", ".svg")) else f"{repository}/blob/main/"
        assert found == (written if written.startswith("http") else root + written)
    assert f"Project-URL: Repository, {repository}" in description
