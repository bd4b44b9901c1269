"""Conversion of other datasets into prompts, demonstrations and answers."""
