"""`prefix-rft <command>`: finds the command and hands the rest of the line to it."""

import argparse
import sys
from importlib import import_module

from prefix_rft_trl import __version__
from prefix_rft_trl.utils.errors import UserError


COMMANDS = {
    "lab": "see Prefix-RFT solve in two minutes what plain GRPO cannot, on this machine's CPU",
    "recipes": "list the recipes that come with the package, show or copy one, or make its model",
    "data": "turn a dataset of others into prompts, demonstrations and answers, or check one",
    "train": "train a model from a recipe, on one process or many",
    "compare": "train recipes with several seeds and make one report of them, with error bars",
    "eval": "evaluate models on benchmarks: avg@n, pass@k, majority vote, and what differs between two",
    "inspect": "see what a prefix teaches a model: a page with its demonstrations, token by token",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 done, 1 failed in a process that was launched, 2 not launched."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="prefix-rft",
        description="Prefix-RFT: fine-tune a language model with demonstrations and reward in one stage.",
        epilog="`prefix-rft <command> --help` tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"prefix-rft {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="<command>", required=True)
    for name, purpose in COMMANDS.items():
        subparsers.add_parser(name, help=purpose, add_help=False)
    command = parser.parse_known_args(arguments[:1])[0].command
    try:
        return import_module(f".{command}", __package__).run(arguments[1:])
    except UserError as error:
        print(f"prefix-rft {command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
