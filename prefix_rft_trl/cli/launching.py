"""Starts the processes of a training with accelerate's launcher, and says how they ended."""

import argparse
import os
import signal
import sys

from .errors import UserError


SECONDS_TO_STOP = 600  # that processes which are asked to stop have for their step and a checkpoint; torch has 30
STOPPED_BY_USER = 128 + signal.SIGINT


def launch(arguments: argparse.Namespace) -> int:
    """Runs what `accelerate launch` would run; returns 0, 1 if it failed, or 130 if the user stopped it."""
    from accelerate.commands.launch import launch_command
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_STOP))
    if arguments.num_processes is not None:
        os.environ["PREFIX_RFT_NUM_PROCESSES"] = str(arguments.num_processes)  # the script holds accelerate to it
    try:
        launch_command(arguments)
    except ImportError as error:
        raise UserError(f"{error}. DeepSpeed comes with `pip install 'prefix_rft_trl[deepspeed]'`.") from error
    except SignalException as error:  # the processes have ended their step and saved a checkpoint
        return STOPPED_BY_USER if error.sigval == signal.SIGINT else 0
    except ChildFailedError as error:
        process, failure = error.get_first_failure()
        if failure.exitcode < 0:
            _say_who_was_killed(process, failure.signal_name())
        return STOPPED_BY_USER if failure.exitcode == STOPPED_BY_USER else 1
    except SystemExit:  # the script has said why on its standard error
        return 1
    finally:
        os.environ.pop("PREFIX_RFT_NUM_PROCESSES", None)
    return 0


def _say_who_was_killed(process: int, by: str) -> None:
    print(
        f"prefix-rft train: process {process} was ended by {by}, and the run with it. SIGKILL often means that the "
        "machine had no memory left. To go on from the last whole checkpoint, give the same command with "
        "`--resume_from_checkpoint last`.",
        file=sys.stderr,
    )
