"""Running trials: their sources, upload to MLflow, progress display, early stopping groups and interruption."""
