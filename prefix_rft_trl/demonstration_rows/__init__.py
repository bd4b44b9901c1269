"""Demonstrations of a second dataset, which a step trains beside its rollouts: other problems, and no reward."""
