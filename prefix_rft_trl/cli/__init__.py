"""`prefix-rft`, the command line: one file a command, none of which imports torch before it is needed."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter


def command_parser(command: str, description: str, usage: str, epilog: str | None = None) -> ArgumentParser:
    """The parser of a command; description and epilog keep their line breaks."""
    parser = ArgumentParser(f"prefix-rft {command}", usage, description, epilog, allow_abbrev=False)
    parser.formatter_class = RawDescriptionHelpFormatter
    return parser
