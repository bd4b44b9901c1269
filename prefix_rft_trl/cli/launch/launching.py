"""Launch the processes of a training with accelerate, and report how they ended."""

import argparse
import json
import os
import shlex
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.faults import REFUSED
from prefix_rft_trl.utils.files import held_locks
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.processes import (
    handled_signals,
    leave_closed_terminal,
    start_child,
    without_ignored_hangup,
)


SECONDS_TO_STOP = 600  # for a step and a checkpoint after a signal; torch allows 30
SIGNALS_OF_TORCH = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
STOPPED_BY_USER = 128 + signal.SIGINT
EXIT_CODE_FILE = "PREFIX_RFT_EXIT_CODE_FILE"  # the script writes its exit code there, for the launcher
NUM_PROCESSES = "PREFIX_RFT_NUM_PROCESSES"


def launch(flags: list[str], script_line: list[str]) -> int:
    """
    Runs the training script with its command line under `accelerate launch` with its flags.

    The processes hold the locks of this one, as they could outlive it for a moment, and end with it.

    Returns:
        `int`: 0; 1 if it failed; 2 if it was refused; 130 if the user stopped it.
    """
    from accelerate.commands import launch as accelerate_launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    from prefix_rft_trl.utils.patching import replaced

    # As a module: the folder of a script comes first on the path, and our `inspect` would hide Python's
    script = ["--module", f"{__package__}.rank"]
    arguments = accelerate_launch.launch_command_parser().parse_args([*flags, "--quiet", *script, *script_line])
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_STOP))
    handled = ",".join(number.name for number in without_ignored_hangup(SIGNALS_OF_TORCH))
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", handled)
    if arguments.num_processes is not None:
        os.environ[NUM_PROCESSES] = str(arguments.num_processes)
    with tempfile.TemporaryDirectory() as folder:
        exit_code_file = Path(folder, "exit_code")
        os.environ[EXIT_CODE_FILE] = str(exit_code_file)
        try:
            with (
                replaced(accelerate_launch, "simple_launcher", _launch_one_process),
                replaced(subprocess_handler, "Popen", partial(start_child, pass_fds=held_locks())),
            ):
                accelerate_launch.launch_command(arguments)
        except ImportError as error:
            raise UserError(f"{error}. DeepSpeed comes with `pip install 'prefix_rft_trl[deepspeed]'`.") from error
        except SignalException as error:
            leave_closed_terminal()
            return _exit_code_after_signal(error.sigval, exit_code_file)
        except ChildFailedError as error:
            process, failure = error.get_first_failure()
            return _exit_code_after_failure(process, failure.exitcode)
        except SystemExit as error:  # from `_launch_one_process`
            return _exit_code_after_failure(0, int(error.code)) if error.code else 0
        finally:
            os.environ.pop(NUM_PROCESSES, None)
            os.environ.pop(EXIT_CODE_FILE, None)
    return 0


def has_default_config() -> bool:
    """Whether `accelerate config` has written a configuration on this machine."""
    from accelerate.commands.config import default_config_file

    return Path(default_config_file).is_file()


def check_gpu(settings: argparse.Namespace) -> None:
    """Raises a `UserError` if settings ask for a GPU, and there is none."""
    import torch

    if settings.use_cpu or settings.bf16 is False or torch.accelerator.is_available():
        return
    raise UserError(
        "this run is for GPUs (`bf16` is on and `use_cpu` is not), and PyTorch finds none. To run it on the CPU all "
        "the same, add `--use_cpu true --bf16 false`; recipes/lab/prefix_rft.yaml is a recipe for the CPU."
    )


def note_exit_code(code: int) -> None:
    """Leaves the exit code of the script for the launcher of this machine, if there is one."""
    if EXIT_CODE_FILE in os.environ and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        Path(os.environ[EXIT_CODE_FILE]).write_text(str(code), encoding="utf-8")


def sampling_command(model: str, prompt: Any, max_new_tokens: int) -> str:
    """A line for the shell that samples from a model."""
    # JSON quotes text with ", which needs no escaping inside the shell's '
    model, prompt = (printable(json.dumps(value, ensure_ascii=False)) for value in (model, prompt))
    program = (
        f'from transformers import pipeline; print(pipeline("text-generation", {model})'
        f'({prompt}, max_new_tokens={max_new_tokens}, return_full_text=False)[0]["generated_text"])'
    )
    python = Path(sys.executable)  # which has the packages, unlike perhaps the one on the path
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{python} -c {shlex.quote(program)}"


def _launch_one_process(arguments: argparse.Namespace) -> NoReturn:
    """Replaces accelerate's launcher of a single process, which would leave it running when it is stopped itself."""
    from accelerate.utils import prepare_simple_launcher_cmd_env

    command, environment = prepare_simple_launcher_cmd_env(arguments)
    # In a process group of its own, a signal from the terminal arrives once: passed on from here
    process = start_child(command, environment, held_locks(), process_group=0)

    def pass_on(number: int, frame: Any) -> None:
        leave_closed_terminal()
        process.send_signal(number)

    with handled_signals(pass_on, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        code = process.wait()
    sys.exit(code)


def _exit_code_after_signal(number: int, exit_code_file: Path) -> int:
    """The exit code that the script has noted, if it could save a checkpoint in time; else 1."""
    if exit_code_file.is_file():
        return int(exit_code_file.read_text(encoding="utf-8"))
    print(
        f"prefix-rft train: ended by {signal.Signals(number).name} before a checkpoint could be saved. "
        "`--resume_from_checkpoint last` resumes from the last complete checkpoint, if there is one.",
        file=sys.stderr,
    )
    return 1


def _exit_code_after_failure(process: int, code: int) -> int:
    if code < 0:
        print(
            f"prefix-rft train: process {process} was ended by {signal.Signals(-code).name}, and the run with it. "
            "SIGKILL often means that the machine ran out of memory. To resume from the last complete checkpoint, "
            "repeat the command with `--resume_from_checkpoint last`.",
            file=sys.stderr,
        )
    return code if code in (REFUSED, STOPPED_BY_USER) else 1  # the script has printed why
