"""Content for MLflow's own pages of a sweep."""
