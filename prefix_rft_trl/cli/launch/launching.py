"""Starts the processes of a training with accelerate's launcher, and says how they ended."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from prefix_rft_trl.utils.errors import UserError


SECONDS_TO_STOP = 600  # that processes which are asked to stop have for their step and a checkpoint; torch has 30
STOPPED_BY_USER = 128 + signal.SIGINT
EXIT_CODE_FILE = "PREFIX_RFT_EXIT_CODE_FILE"  # where the script of this machine writes down how it has ended
NUM_PROCESSES = "PREFIX_RFT_NUM_PROCESSES"


def launch(arguments: argparse.Namespace) -> int:
    """Runs what `accelerate launch` would run; returns 0, 1 if it failed, or 130 if the user stopped it."""
    from accelerate.commands import launch as accelerate_launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from prefix_rft_trl.utils.patching import replaced

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_STOP))
    if arguments.num_processes is not None:
        os.environ[NUM_PROCESSES] = str(arguments.num_processes)  # the script holds accelerate to it
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "exit_code")
        os.environ[EXIT_CODE_FILE] = str(written)
        try:
            with replaced(accelerate_launch, "simple_launcher", _start_one):
                accelerate_launch.launch_command(arguments)
        except ImportError as error:
            raise UserError(f"{error}. DeepSpeed comes with `pip install 'prefix_rft_trl[deepspeed]'`.") from error
        except SignalException as error:
            return _exit_code_after(error.sigval, written)
        except ChildFailedError as error:
            process, failure = error.get_first_failure()
            return _exit_code_of_failed(process, failure.exitcode)
        except SystemExit as error:  # of the one process
            return _exit_code_of_failed(0, int(error.code or 0)) if error.code else 0
        finally:
            os.environ.pop(NUM_PROCESSES, None)
            os.environ.pop(EXIT_CODE_FILE, None)
    return 0


def note_exit_code(code: int) -> None:
    """Tells the launcher of this machine, if there is one, how the script has ended."""
    if EXIT_CODE_FILE in os.environ and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        Path(os.environ[EXIT_CODE_FILE]).write_text(str(code))


def _start_one(arguments: argparse.Namespace) -> NoReturn:
    """What accelerate does for one process; it also passes signals on, so that the process is not left behind."""
    from accelerate.utils import prepare_simple_launcher_cmd_env

    command, environment = prepare_simple_launcher_cmd_env(arguments)
    # A group of its own: the signals of the terminal reach it through here, and once
    process = subprocess.Popen(command, env=environment, process_group=0)

    def pass_on(number: int, frame: Any) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(code)


def _exit_code_after(number: int, written: Path) -> int:
    """After a signal the processes are over, and only they know whether they could save a checkpoint."""
    if written.is_file():
        return int(written.read_text())
    print(
        f"prefix-rft train: ended by {signal.Signals(number).name} before the step and a checkpoint of it were done. "
        "The last whole checkpoint, if there is one, is what `--resume_from_checkpoint last` goes on from.",
        file=sys.stderr,
    )
    return 1


def _exit_code_of_failed(process: int, code: int) -> int:
    if code < 0:
        print(
            f"prefix-rft train: process {process} was ended by {signal.Signals(-code).name}, and the run with it. "
            "SIGKILL often means that the machine had no memory left. To go on from the last whole checkpoint, give "
            "the same command with `--resume_from_checkpoint last`.",
            file=sys.stderr,
        )
    return STOPPED_BY_USER if code == STOPPED_BY_USER else 1  # otherwise the script has said why
