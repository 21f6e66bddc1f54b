"""Trials on Ray, and their workers. No other package of `trainables` imports Ray."""
