"""Stages: groups that failed are sampled again in the same step, from a longer prefix or plainly once more."""
