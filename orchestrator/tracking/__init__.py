"""The MLflow experiment of a sweep, written by the driver alone."""
