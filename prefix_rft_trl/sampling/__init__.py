"""Sampling a batch with hybrid rows, one file an engine."""
