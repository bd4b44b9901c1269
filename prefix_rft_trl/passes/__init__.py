"""Forward passes of the loss."""
