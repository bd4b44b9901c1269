"""Models: changed copies, adapters, where they come from."""
