"""The method as pure functions: no TRL, no config."""
