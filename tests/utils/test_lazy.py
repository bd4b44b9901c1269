"""Python searches for no garbage while TRL is imported for the first time, and does again afterwards."""

import gc
import subprocess
import sys

import pytest

from prefix_rft_trl.utils.lazy import quick_imports


@pytest.fixture
def without_trl(monkeypatch):
    trl = __import__("trl")
    monkeypatch.delitem(sys.modules, "trl")
    return trl


@pytest.mark.parametrize("freeze", [False, True])
def test_the_first_import_is_not_searched_and_later_only_if_not_frozen(freeze, without_trl, monkeypatch):
    frozen = gc.get_freeze_count()
    with quick_imports(freeze=freeze):
        assert not gc.isenabled()
        monkeypatch.setitem(sys.modules, "trl", without_trl)
    assert gc.isenabled()
    assert (gc.get_freeze_count() > frozen) == freeze


def test_a_first_import_in_the_process_of_a_user_leaves_objects_mortal():
    code = "import gc, sys, prefix_rft_trl as ours; ours.PrefixGRPOConfig; print('trl' in sys.modules)"
    code += "; print(gc.get_freeze_count())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "0"]


def test_an_import_that_fails_leaves_the_search_on(without_trl):
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_later_import_changes_nothing():
    import trl.trainer.grpo_trainer  # noqa: F401

    frozen = gc.get_freeze_count()
    with quick_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_search_that_is_off_stays_off(without_trl):
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
