"""Execution of a plan, by Ray or in this process."""
