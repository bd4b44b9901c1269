"""Silence the warnings of dependencies that tell a user nothing, in scripts and commands alike."""

import logging
import warnings


def silence_dependencies() -> None:
    """Ignores which names of transformers TRL uses, and that DeepSpeed, which is imported unasked, finds no GPU."""
    # TRL 1.16 uses the older name of a setting, and of three methods, of the transformers that it runs with
    renamed = r".*(is_)?gradient_checkpointing.* is deprecated and will be removed in v6"
    warnings.filterwarnings("ignore", renamed, FutureWarning, r"transformers\.")
    logging.getLogger("DeepSpeed").addFilter(_is_of_interest)  # transformers imports it wherever it is installed


def _is_of_interest(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU")
