"""MLflow experiment of a sweep. Only the driver writes to it."""
