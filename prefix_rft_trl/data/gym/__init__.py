"""Tasks of reasoning-gym (PyPI) as datasets, with their own scorers as the reward (`gym.scoring`)."""

from .splits import NAME_PREFIX, load_splits


__all__ = ["NAME_PREFIX", "load_splits"]
