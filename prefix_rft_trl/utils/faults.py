"""The list of what goes wrong outside of this package, in files, packages, templates and models: a sentence for each.

An error that is not on the list is a fault of the program, and keeps its traceback.
"""

import errno
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .errors import UserError, WorkError
from .printable import printable
from .tables import print_sentence


FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_SPACE = (  # the last two are torch's
    "No space left on device", "quota exceeded", "File too large", "PytorchStreamWriter failed", "unexpected pos",
)  # fmt: skip
DAMAGED = ("PytorchStreamReader failed", "invalid header or archive is corrupted")

REFUSED, FAILED, INTERRUPTED = 2, 1, 130

_OF_PATHS = {
    errno.ENOENT: "there is no such file or folder.",
    errno.EACCES: "this user may not read or write it.",
    errno.EPERM: "this user may not read or write it.",
    errno.EROFS: "that disk cannot be written. Choose a folder on another one.",
    errno.EEXIST: "it is there already, as a file. Choose another folder.",
    errno.ENOTDIR: "a part of this path is a file and no folder. Choose another path.",
    errno.EISDIR: "it is a folder, and a file is needed.",
    errno.ENAMETOOLONG: "the path is too long. Choose a shorter one.",
}


def report(command: str, error: BaseException, is_heard: bool = True, is_at_work: bool = False) -> int:
    """Prints what ended a command, in a sentence, and returns its exit code. Raises an error that is not on the list.

    Args:
        command (`str`): its name in front of the sentence.
        error (`BaseException`): what ended it.
        is_heard (`bool`): whether this process prints a refusal, one of several that refuse the same.
        is_at_work (`bool`): whether it has begun what it was asked for. Then nothing is a refusal, and what only the
            code of the user can have done, such as a file that is not there, is printed with its traceback.
    """
    if isinstance(error, KeyboardInterrupt):
        sentence, code = "interrupted.", INTERRUPTED
    elif isinstance(error, WorkError) or is_full_disk(error) or type(error).__name__ == "OutOfMemoryError":
        sentence, code = known_fault(error) or str(error), FAILED
    elif isinstance(error, UserError):
        sentence, code = str(error), FAILED if is_at_work else REFUSED
    elif is_at_work:
        print(printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        return FAILED
    elif (known := known_fault(error)) is not None:
        sentence, code = known, REFUSED
    else:
        raise error
    if is_heard or code == FAILED:
        print_sentence(f"prefix-rft {command}: {sentence}", sys.stderr)
    return code


def known_fault(error: BaseException) -> str | None:
    """What an error means and what to do, in a sentence; `None` if it is not on the list."""
    if is_full_disk(error):
        return full_disk(getattr(error, "filename", None) or f"a file ({error})")
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return next((explain(error) for kind, explain in FAULTS.items() if kind in kinds), None)


def full_disk(file: str) -> str:
    """What to do when a file has no room on its disk, or is above a limit of the system."""
    return f"the disk is full: {file} could not be written. Make room, then repeat the command."


def is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL_DISK
    is_of_library = isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError"
    return is_of_library and not isinstance(error, WorkError) and any(text in str(error) for text in NO_SPACE)


def _of_path(error: Any) -> str | None:
    if error.filename is not None:
        reason = _OF_PATHS.get(error.errno, f"{error.strerror}.")
        return f"{error.filename}: {reason}"
    # A library raises one with nothing but a sentence for its user; the system's own have a number
    return _sentence(error) if error.errno is None and error.args else None


def _of_dataset(error: BaseException) -> str:
    return f"the dataset cannot be read: {_sentence(error.__cause__ or error)}"


def _of_template(error: BaseException) -> str:
    return f"the chat template of the model refuses a prompt: {_sentence(error)} {TEMPLATE_REMEDY}"


TEMPLATE_REMEDY = (
    "Leave out what it does not take, such as a system prompt, or give the model another template: `chat_template` "
    "under `model_changes`."
)


def _of_package(error: Any) -> str | None:
    name = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name not in ("", "prefix_rft_trl"):
        return f"the package {name!r} is not installed: {install_command(name)}."
    return _sentence(error) if LACKS.search(str(error)) else None


LACKS = re.compile(r"pip install|\binstall(ed)?\b", re.IGNORECASE)  # a library that lacks another one says so


def install_command(package: str) -> str:
    """How to install a package: by the extra of this one, where there is one."""
    if package in EXTRAS:
        return f"`pip install 'prefix_rft_trl[{package}]'`"
    return f"`pip install {DISTRIBUTIONS.get(package, package.replace('_', '-'))}`"


EXTRAS = ("vllm", "deepspeed", "lm_eval", "reasoning_gym", "wandb", "trackio", "tensorboard")
DISTRIBUTIONS = {  # of packages that are not called as they are imported
    "flash_attn": "flash-attn --no-build-isolation",
    "flash_attn_interface": "kernels",
    "optimi": "torch-optimi",
    "azureml": "azureml-sdk",
    "yaml": "pyyaml",
}


def _of_torch(error: BaseException) -> str | None:
    is_damaged = any(text in str(error) for text in DAMAGED)
    return _of_damaged_model(error) if is_damaged else None


def _of_damaged_model(error: BaseException) -> str:
    return f"a file of the model is damaged or incomplete: {_sentence(error)} Download or copy it again."


def _of_memory(error: BaseException) -> str:
    return (
        f"the memory of the GPU is full: {_sentence(error)} Take smaller batches, or see Memory in "
        "docs/troubleshooting.md."
    )


def _of_encoding(error: BaseException) -> str:
    return f"a text is not in UTF-8: {_sentence(error)} Convert its file, as with `iconv -f latin1 -t utf-8`."


def _sentence(error: BaseException) -> str:
    """The text of an error on one line, with a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


FAULTS: dict[str, Callable[[Any], str | None]] = {  # by the name of the class, so that no library is imported
    "jinja2.exceptions.TemplateError": _of_template,
    "datasets.exceptions.DatasetsError": _of_dataset,
    "pyarrow.lib.ArrowException": _of_dataset,
    "safetensors._safetensors_rust.SafetensorError": _of_damaged_model,
    "yaml.error.YAMLError": lambda error: f"a file is not YAML: {_sentence(error)}",
    "_pickle.UnpicklingError": _of_damaged_model,
    "builtins.UnicodeDecodeError": _of_encoding,
    "builtins.ImportError": _of_package,
    "builtins.OSError": _of_path,
    "torch.OutOfMemoryError": _of_memory,
    "builtins.RuntimeError": _of_torch,
}
