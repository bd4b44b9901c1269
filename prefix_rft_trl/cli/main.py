"""`prefix-rft <command>`: find the command and hand it the rest of the line."""

import argparse
import io
import os
import sys
from importlib import import_module

from prefix_rft_trl import __version__
from prefix_rft_trl.utils.faults import report
from prefix_rft_trl.utils.processes import end_with_parent, exit_on_signals, put_current_folder_last

from .flags import CommandHelp
from .import_notice import import_notice


COMMANDS = {
    "lab": "see Prefix-RFT solve in a few minutes what plain GRPO cannot, on this machine's CPU",
    "recipes": "list the recipes that come with the package, show or copy one, or make its model",
    "init": "write recipes for your own file: it looks at its columns, rows and lengths",
    "data": "convert a dataset into prompts, demonstrations and answers, check or make one",
    "train": "train a model from a recipe, on one process or many",
    "compare": "train recipes with several seeds and report them side by side, with error bars",
    "eval": "evaluate models on benchmarks: avg@n, pass@k, majority vote, paired differences",
    "advise": "say which method fits a model, its problems and its demonstrations, after a short probe",
    "inspect": "see what a prefix teaches a model: a page with demonstrations token by token",
    "completion": "print what makes bash or zsh complete commands and flags",
}

SECONDS_WITHOUT_BAR = "2"  # that datasets and models may take to be read or written without a progress bar
EPILOG = """\
`prefix-rft <command> --help` describes a command.

exit codes:
  0    done
  1    failed at work; of `data check`: problems were found
  2    refused before the work: settings, data, model or output cannot be used
  130  interrupted (Ctrl-C)"""


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 failed, 2 refused, 130 interrupted."""
    _print_any_text()
    os.environ.setdefault("TQDM_DELAY", SECONDS_WITHOUT_BAR)  # before tqdm is imported
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="prefix-rft",
        description="Prefix-RFT: fine-tune a language model with demonstrations and reward in one stage.",
        epilog=EPILOG,
        formatter_class=CommandHelp,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"prefix-rft {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="<command>", required=True)
    for name, purpose in COMMANDS.items():
        subparsers.add_parser(name, help=purpose, add_help=False)
    command = parser.parse_known_args(arguments[:1])[0].command
    try:
        with exit_on_signals(), import_notice(command, sys.stderr):
            return import_module(f".{command}", __package__).run(arguments[1:])
    except (KeyboardInterrupt, Exception) as error:
        return report(command, error)


def _print_any_text() -> None:
    """Print what the encoding of the locale lacks as escapes, here and in the processes that are started."""
    os.environ.setdefault("PYTHONIOENCODING", ":backslashreplace")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    end_with_parent()  # if a comparison has started this run
    put_current_folder_last()
    raise SystemExit(main())
