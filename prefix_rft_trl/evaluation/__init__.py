"""Evaluation: samples of a model for each problem of a benchmark, and the figures that are made of them."""
