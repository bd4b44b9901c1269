"""The loss of a training step: TRL's, with a weight of its own for each token of a demonstration."""
