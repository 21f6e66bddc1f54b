"""What a space may name, and what of it goes together: said or refused before anything trains."""
