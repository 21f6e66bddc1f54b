"""Search for settings by Optuna studies."""
