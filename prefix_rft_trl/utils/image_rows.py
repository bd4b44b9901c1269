"""Images of the rows of a dataset, in TRL's form: a column of its own, or parts of the messages of a prompt."""

from collections.abc import Mapping
from typing import Any


IMAGE_COLUMNS = ("image", "images")


def images_of_dataset(columns: list[str], row: Mapping[str, Any]) -> str | None:
    """Where a dataset has its images, as a sentence says it; `None` if it has none.

    Args:
        columns (`list[str]`): of the dataset.
        row (`Mapping`): its first one.
    """
    if named := [name for name in IMAGE_COLUMNS if name in columns]:
        return f"a column '{named[0]}'"
    messages = row.get("prompt")
    found = messages if isinstance(messages, list) else []
    contents = [message.get("content") for message in found if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    has_image = any(isinstance(part, dict) and part.get("type") == "image" for part in parts)
    return "images in its prompts" if has_image else None
