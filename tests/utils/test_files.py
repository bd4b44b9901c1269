import pytest

from prefix_rft_trl.utils.files import atomic_folder


def test_a_folder_is_there_when_all_of_it_is(tmp_path):
    with atomic_folder(tmp_path / "a" / "made") as made:
        (made / "file").write_text("whole")
        assert not (tmp_path / "a" / "made").exists()
    assert (tmp_path / "a" / "made" / "file").read_text() == "whole"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["made"]


def test_what_failed_leaves_nothing_behind(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_folder(tmp_path / "made") as made:
        made.read_text()
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_has_made_meanwhile_is_kept(tmp_path):
    with atomic_folder(tmp_path / "made") as made:
        (made / "file").write_text("mine")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "file").write_text("theirs")
    assert (tmp_path / "made" / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_name_that_cannot_be_taken_is_an_error(tmp_path):
    (tmp_path / "made").write_text("a file")
    with pytest.raises(OSError, match="made"), atomic_folder(tmp_path / "made"):
        pass
