"""What MLflow's own pages show of a sweep."""
