"""Compare recipes: the same prompts and measurements, several seeds, one report."""
