"""Recipes against each other: the same prompts, the same measurements, several seeds, one report."""
