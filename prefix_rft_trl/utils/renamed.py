"""Accept the names that settings and flags had before, with a line that says the new one."""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any


RENAMED_SETTINGS = {"lab_damaged_share": "lab_corrupted_share"}


def current_flags(line: list[str], renamed: Mapping[str, str] = RENAMED_SETTINGS) -> list[str]:
    """A command line with the current names of its flags; a flag may name a stage, `--rft.NAME`."""
    return [_current_flag(part, renamed) if part.startswith("--") else part for part in line]


def _current_flag(flag: str, renamed: Mapping[str, str]) -> str:
    name, is_assigned, value = flag.removeprefix("--").partition("=")
    return f"--{_current_name(name.replace('-', '_'), renamed, name)}{is_assigned}{value}"


def current_settings(content: Any) -> Any:
    """The content of a recipe or of a comparison with the current names of its settings, at any depth.

    A current name that is there as well wins.
    """
    if isinstance(content, list):
        return [current_settings(item) for item in content]
    if not isinstance(content, dict):
        return content
    names = {name: _current_name(name, RENAMED_SETTINGS, name) for name in content if isinstance(name, str)}
    return {
        names.get(name, name): current_settings(value)
        for name, value in content.items()
        if names.get(name, name) == name or names[name] not in content
    }


def _current_name(name: str, renamed: Mapping[str, str], written: str) -> str:
    stage, dot, setting = name.rpartition(".")
    if setting not in renamed:
        return written
    say_new_name(setting, renamed[setting])
    return f"{stage}{dot}{renamed[setting]}"


@cache
def say_new_name(old: str, new: str) -> None:
    print(f"prefix-rft: `{old}` is now called `{new}`; the old name is still accepted.", file=sys.stderr)
