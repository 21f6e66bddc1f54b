"""A plan carried out, by Ray or in this process."""
