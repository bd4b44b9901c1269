import errno
import io

import jinja2
import pyarrow as pa
import pytest
import torch
import yaml
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors import SafetensorError

from prefix_rft_trl.utils.errors import UserError, WorkError
from prefix_rft_trl.utils.faults import known_fault, report
from prefix_rft_trl.utils.shared_memory import check_semaphores


KNOWN = [
    (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), 2, "a/b: there is no such file or folder."),
    (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "a: this user may not read or write it."),
    (OSError(errno.EROFS, "Read-only file system", "a"), 2, "a: that disk cannot be written. Choose"),
    (OSError(errno.EIO, "Input/output error", "a"), 2, "a: Input/output error."),
    (OSError(errno.ENOSPC, "No space left on device", "a"), 1, "the disk is full: a could not be written. Make room"),
    (OSError(errno.EDQUOT, "Disk quota exceeded", "a"), 1, "the disk is full: a could not be written. Make room"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), 1, "the disk is full: a file (I/O error"),
    (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), 1, "the disk is full"),
    (OfflineModeIsEnabled("Cannot reach the Hub\nin offline mode"), 2, "Cannot reach the Hub in offline mode."),
    (SafetensorError("header too small"), 2, "a file of the model is damaged or incomplete: header too small."),
    (RuntimeError("PytorchStreamReader failed reading zip archive"), 2, "a file of the model is damaged"),
    (jinja2.TemplateError("System role not supported"), 2, "refuses a prompt: System role not supported. Leave out"),
    (pa.ArrowInvalid("Corrupt data"), 2, "the dataset cannot be read: Corrupt data."),
    (DatasetGenerationError("An error occurred"), 2, "the dataset cannot be read: An error occurred."),
    (yaml.YAMLError("line 1"), 2, "a file is not YAML: line 1."),
    (ModuleNotFoundError("No module named 'vllm'", name="vllm"), 2, "`pip install 'prefix_rft_trl[vllm]'`"),
    (ModuleNotFoundError("No module named 'av.codec'", name="av.codec"), 2, "'av' is not installed: `pip install av`"),
    (ImportError("X requires librosa: pip install librosa"), 2, "X requires librosa: pip install librosa."),
    (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), 2, "a text is not in UTF-8"),
    (torch.OutOfMemoryError("CUDA out of memory"), 1, "the memory of the GPU is full: CUDA out of memory."),
    (WorkError("The workers died."), 1, "The workers died."),
    (UserError("no model."), 2, "no model."),
    (KeyboardInterrupt(), 130, "interrupted."),
]
FAULTS_OF_THE_PROGRAM = [
    ValueError("x"), KeyError("x"), TypeError("x"), RuntimeError("shapes (2, 3) and (3, 4)"), IndexError("x"),
    OSError(errno.EBADF, "Bad file descriptor"), AssertionError(), StopIteration(),
    ModuleNotFoundError("No module named 'prefix_rft_trl.x'", name="prefix_rft_trl.x"),
    ImportError("cannot import name 'x' from 'trl'", name="trl"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "sentence"), KNOWN, ids=lambda value: f"{value!r:.60}")
def test_what_goes_wrong_outside_is_a_sentence_and_an_exit_code(error, code, sentence, capsys):
    assert report("train", error) == code
    said = capsys.readouterr().err
    assert said.startswith("prefix-rft train: ")
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("error", FAULTS_OF_THE_PROGRAM, ids=lambda error: f"{error!r:.60}")
def test_a_fault_of_the_program_keeps_its_traceback(error):
    assert known_fault(error) is None
    with pytest.raises(type(error)):
        report("train", error)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ImportError("This platform lacks sem_open")]
)
def test_shared_memory_that_cannot_be_written_is_named_before_any_work(error, monkeypatch):
    def fail(*args):
        raise error

    check_semaphores()
    monkeypatch.setattr("multiprocessing.context.BaseContext.Lock", fail)
    with pytest.raises(ValueError, match=r"shared memory \(/dev/shm\) cannot be written.*--shm-size"):
        check_semaphores()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_sentence_is_wrapped_on_a_terminal_alone(is_terminal, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "40")
    sentence = "the file /a-path/that-is-longer/than-the-terminal/is-wide.jsonl is not there: look for it elsewhere."
    assert report("train", UserError(sentence)) == 2
    assert " ".join(stream.getvalue().split()) == f"prefix-rft train: {sentence}"
    assert (stream.getvalue().count("\n") > 1) == is_terminal
    assert "/a-path/that-is-longer/than-the-terminal/is-wide.jsonl" in stream.getvalue()
