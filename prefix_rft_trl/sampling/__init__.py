"""Sample a batch with hybrid rows: one file per engine."""
