"""Silence the warnings of dependencies that tell a user nothing, in scripts and commands alike."""

import logging
import warnings


def silence_dependencies() -> None:
    """Ignores which names of transformers TRL uses, and that DeepSpeed, which is imported unasked, finds no GPU."""
    # TRL 1.16 uses the older name of a setting, and of three methods, of the transformers that it runs with
    renamed = r".*(is_)?gradient_checkpointing.* is deprecated and will be removed in v6"
    warnings.filterwarnings("ignore", renamed, FutureWarning, r"transformers\.")
    logging.getLogger("DeepSpeed").addFilter(_is_of_interest)  # transformers imports it wherever it is installed
    logging.getLogger("trl.trainer.grpo_trainer").addFilter(_FirstWithoutReward())


class _FirstWithoutReward(logging.Filter):
    """Shortens TRL's warning of a rollout without reward, which quotes its row with each step, and lets one pass."""

    was_seen = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "All reward functions returned None" not in record.getMessage():
            return True
        if self.was_seen:
            return False
        self.was_seen = True
        record.msg, record.args = "All reward functions returned None for a rollout: it teaches nothing.", ()
        return True


def _is_of_interest(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Setting accelerator to CPU")
