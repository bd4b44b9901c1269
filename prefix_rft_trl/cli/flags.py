"""Parse the flags of a command, among them settings that are dictionaries."""

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from shutil import get_terminal_size
from typing import Any

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.tables import fill_paragraphs


class CommandHelp(RawDescriptionHelpFormatter):
    """Help in the width of the terminal, whose description and epilog keep lines that are indented as they are."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"width": get_terminal_size().columns, **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill_paragraphs(text, width)


def command_parser(
    command: str, description: str, usage: str | None = None, epilog: str | None = None
) -> ArgumentParser:
    """The parser of a command; description and epilog keep the lines that are indented."""
    formatting: dict[str, Any] = {"formatter_class": CommandHelp, "allow_abbrev": False}
    return ArgumentParser(f"prefix-rft {command}", usage, description, epilog, **formatting)


def read_dict(setting: str, value: Any) -> Any:
    """The value of a setting: a dictionary of a recipe, or text of the command line, which is read as JSON.

    Raises:
        UserError: if the text is no JSON object.
    """
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"--{setting} takes a JSON object, such as '{{\"name\": 1}}', found {value!r}.")
    return found
