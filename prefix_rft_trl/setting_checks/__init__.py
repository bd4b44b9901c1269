"""Combinations of settings that cannot be used, refused before a model is loaded."""
