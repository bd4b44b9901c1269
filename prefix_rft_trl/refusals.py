"""What cannot be combined with hybrid rollouts, said before a model is loaded."""

import inspect
from typing import Any

from trl import GRPOTrainer


def refuse_other_generators(*args: Any, **named: Any) -> None:
    """Raises a ValueError if the arguments of a trainer leave generation to something else than the trainer."""
    given = inspect.signature(GRPOTrainer).bind(*args, **named).arguments
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise ValueError(
                f"`{name}` takes generation out of the trainer's hands, so a rollout cannot start with a prefix of a "
                f"demonstration. Leave `{name}` out, or set `num_prefix_generations=0`."
            )
