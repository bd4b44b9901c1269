"""The life of a run: checkpoints, resuming, stopping, its folder and curve."""
