"""Models: where they come from, copies with changed settings, adapters merged into their base."""
