"""What several rooms share and no room owns."""
