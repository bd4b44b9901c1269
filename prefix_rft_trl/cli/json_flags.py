"""Read settings that are dictionaries: as such from a recipe, as JSON from the command line."""

import json
from typing import Any

from prefix_rft_trl.utils.errors import UserError


def read_dict(setting: str, value: Any) -> Any:
    """The value of a setting; text is read as JSON.

    Args:
        setting (`str`): its name, for the error message.
        value: a dictionary, `None`, or text.

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
