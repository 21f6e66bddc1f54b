"""Sweeps of many trials: the plan, the driver that runs them, and the report that reads them back from MLflow."""
