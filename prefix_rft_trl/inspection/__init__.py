"""What a prefix teaches, as a picture: the groups of a training step, token by token, on a page."""
