"""Other datasets converted into prompts, demonstrations and answers."""
