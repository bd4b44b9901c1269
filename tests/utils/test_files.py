import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefix_rft_trl.utils import files
from prefix_rft_trl.utils.files import (
    InUseError,
    ParquetSink,
    atomic_file,
    atomic_folder,
    check_writable,
    exclusive_file,
    exclusive_lock,
    held_locks,
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


def refusal_of(lock, *arguments, **options) -> str:
    with pytest.raises(InUseError) as refused, lock(*arguments, **options):
        pass
    return str(refused.value)


def test_second_command_in_a_folder_is_refused_until_the_first_is_done(tmp_path):
    with exclusive_lock(tmp_path / "runs"):
        said = refusal_of(exclusive_lock, tmp_path / "runs", patience=0)
        assert said.startswith(f"Another command is writing into {tmp_path / 'runs'}. ")
    with exclusive_lock(tmp_path / "runs"):
        pass


def test_lock_leaves_nothing_behind_but_what_was_written(tmp_path):
    with exclusive_lock(tmp_path / "deep" / "runs"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with exclusive_lock(tmp_path / "mine"), exclusive_lock(tmp_path / "runs"):
        (tmp_path / "runs" / "model").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "model", "runs"]


def test_folder_whose_name_is_a_file_cannot_be_locked(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(ValueError, match=r"cannot write to the folder .*runs"), exclusive_lock(tmp_path / "runs"):
        pass


def test_lock_is_waited_for_while_its_process_ends(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with exclusive_lock(tmp_path / "runs"):
            waiting = pool.submit(exclusive_lock(tmp_path / "runs").__enter__)
            time.sleep(0.3)
            assert not waiting.done()
        waiting.result(timeout=10)


def test_disk_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(files.errno.ENOSYS, "Function not implemented")

    with atomic_file(tmp_path / "of_another.jsonl"):
        monkeypatch.setattr(files.fcntl, "flock", refuse)
        with exclusive_lock(tmp_path / "runs"):
            write_atomically(tmp_path / "made.jsonl", "new")
        assert list(tmp_path.glob(".of_another.jsonl.partial-*")), "it may be alive"


@pytest.fixture
def in_a_process() -> Iterator[Callable[[str, Path], subprocess.Popen]]:
    """Runs a block of Python in another process, where `path` is a path, until it sleeps."""
    started = []

    def start(block: str, path: Path) -> subprocess.Popen:
        imports = "import subprocess, sys, time, pathlib; from prefix_rft_trl.utils.files import *"
        program = f"{imports}; path = pathlib.Path(sys.argv[1])\nwith {block}:\n print(flush=True); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_dead_process_has_no_lock_and_a_living_one_is_named(tmp_path, in_a_process):
    process = in_a_process("exclusive_lock(path)", tmp_path / "runs")
    said = refusal_of(exclusive_lock, tmp_path / "runs", patience=0)
    assert f"is writing into {tmp_path / 'runs'} (process {process.pid}). Wait for it" in said
    process.kill()
    with exclusive_lock(tmp_path / "runs"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"], "which it had made"
    assert list((tmp_path / "runs").iterdir()) == []


def test_child_that_inherits_a_lock_holds_it(tmp_path):
    with exclusive_lock(tmp_path / "runs"):
        child = subprocess.Popen(["sleep", "60"], pass_fds=held_locks())
        os.close(held_locks()[0])  # as if this process were killed
        os.open(os.devnull, os.O_RDONLY)
        said = refusal_of(exclusive_lock, tmp_path / "runs", patience=0)
        assert f"(process {child.pid})" in said
        child.kill()
        child.wait()
    with exclusive_lock(tmp_path / "runs", patience=0):
        pass


def test_file_that_another_command_is_writing_is_refused_and_others_are_not(tmp_path, in_a_process):
    process = in_a_process("exclusive_file(path), atomic_file(path)", tmp_path / "made.jsonl")
    said = refusal_of(exclusive_file, tmp_path / "made.jsonl")
    assert f"is writing into {tmp_path / 'made.jsonl'} (process {process.pid}). Wait for it" in said
    assert "another file" in said
    with exclusive_file(tmp_path / "other.jsonl"):
        write_atomically(tmp_path / "other.jsonl", "")
    assert len(list(tmp_path.iterdir())) == 3, "what the living process has begun is still there"


@pytest.mark.parametrize("block", ["atomic_file(path)", "atomic_folder(path)", "exclusive_file(path)"])
def test_leftovers_of_a_killed_process_go_when_something_is_written(tmp_path, in_a_process, block):
    process = in_a_process(block, tmp_path / "made")
    (tmp_path / ".mine.partial").touch()
    (tmp_path / ".mine.partial-2024").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    write_atomically(tmp_path / "other", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.partial", ".mine.partial-2024", "other"]
