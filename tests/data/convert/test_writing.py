import pytest

from prefix_rft_trl.data.convert.output import check_output
from prefix_rft_trl.utils.files import replacing


def test_a_file_takes_its_place_only_when_all_went_well(tmp_path):
    output = tmp_path / "deep" / "made.jsonl"
    with replacing(output) as partial:
        partial.write_text("new")
        assert partial.suffix == ".jsonl"
        assert not output.exists()
    assert output.read_text() == "new"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, error):
    output = tmp_path / "made.jsonl"
    output.write_text("old")

    def interrupted():
        with replacing(output) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


def test_a_folder_that_cannot_be_written_to_is_reported_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"cannot write to the folder .*file"),
        replacing(tmp_path / "file" / "a.jsonl"),
    ):
        pytest.fail("the work began")


def test_an_output_of_another_kind_or_in_the_way_is_refused(tmp_path):
    (tmp_path / "made.jsonl").write_text("old")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"\.parquet or \.jsonl, found '.*made\.csv'"):
        check_output(tmp_path / "made.csv", False)
    with pytest.raises(ValueError, match=r"made\.jsonl' exists already.*--overwrite"):
        check_output(tmp_path / "made.jsonl", False)
    with pytest.raises(ValueError, match="is a folder"):
        check_output(tmp_path / "folder.jsonl", True)
    check_output(tmp_path / "made.jsonl", True)
    check_output(tmp_path / "other.parquet", False)
