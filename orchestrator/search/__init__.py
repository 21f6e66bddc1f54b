"""Searched settings: asked of Optuna, and told to Optuna."""
