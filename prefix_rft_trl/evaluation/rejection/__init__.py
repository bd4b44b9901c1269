"""Demonstrations by rejection sampling: a model's own answers, of which the reward keeps the right ones."""
