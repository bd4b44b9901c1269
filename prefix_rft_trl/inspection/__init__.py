"""Show token by token what a prefix teaches: the groups of a training step, as a page."""
