import os
import resource
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefix_rft_trl.utils.files import (
    ParquetSink,
    atomic_file,
    atomic_folder,
    check_writable,
    exclusive_lock,
    write_atomically,
)


def test_file_appears_only_when_it_is_complete(tmp_path):
    output = tmp_path / "deep" / "made.jsonl"
    with atomic_file(output) as partial:
        partial.write_text("new")
        assert partial.suffix == ".jsonl"  # some writers choose the format by it
        assert not output.exists()
    assert output.read_text() == "new"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_atomically(tmp_path / "made.jsonl", "old")

    def interrupted() -> None:
        with atomic_file(tmp_path / "made.jsonl") as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert (tmp_path / "made.jsonl").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["made.jsonl"]


def test_block_that_writes_nothing_leaves_the_old_file(tmp_path):
    write_atomically(tmp_path / "made.json", "old")
    with atomic_file(tmp_path / "made.json"):
        pass
    assert (tmp_path / "made.json").read_text() == "old"
    write_atomically(tmp_path / "made.json", "")
    assert (tmp_path / "made.json").read_text() == ""


def test_folder_that_cannot_be_written_to_is_reported_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match=r"cannot write to the folder .*file"),
        atomic_file(tmp_path / "file" / "a.jsonl"),
    ):
        pytest.fail("the work began")


def test_a_check_leaves_no_folder_behind(tmp_path):
    (tmp_path / "old").mkdir()
    check_writable(tmp_path / "old" / "new" / "newer" / "page.html")
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]


def test_parquet_on_a_full_disk_is_an_error_that_names_the_file_and_not_the_end_of_the_process(tmp_path):
    rows = pa.table({"text": [os.urandom(1000).hex() for _ in range(100)]})
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with (
            pytest.raises(OSError, match=r"made\.parquet"),
            atomic_file(tmp_path / "made.parquet") as partial,
            ParquetSink(partial) as sink,
        ):
            pq.write_table(rows, sink)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_folder_appears_only_when_it_is_complete(tmp_path):
    with atomic_folder(tmp_path / "a" / "made") as partial:
        (partial / "file").write_text("complete")
        assert not (tmp_path / "a" / "made").exists()
    assert (tmp_path / "a" / "made" / "file").read_text() == "complete"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["made"]


def test_failed_folder_leaves_nothing_behind(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_folder(tmp_path / "made") as partial:
        partial.read_text()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_faster_process_stays(tmp_path):
    with atomic_folder(tmp_path / "made") as partial:
        (partial / "file").write_text("mine")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "file").write_text("theirs")
    assert (tmp_path / "made" / "file").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_folder_whose_name_is_a_file_is_an_error(tmp_path):
    (tmp_path / "made").write_text("a file")
    with pytest.raises(OSError, match="made"), atomic_folder(tmp_path / "made"):
        pass


def test_second_command_in_a_folder_is_refused_until_the_first_is_done(tmp_path):
    with exclusive_lock(tmp_path / "runs"):  # noqa: SIM117
        with (
            pytest.raises(ValueError, match=r"Another command is writing into .*runs"),
            exclusive_lock(tmp_path / "runs"),
        ):
            pass
    with exclusive_lock(tmp_path / "runs"):
        pass
