"""A task for a real model: sums for SmolLM2-135M-Instruct, which a package on PyPI holds."""
