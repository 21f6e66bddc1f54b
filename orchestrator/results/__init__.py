"""Read sweeps back from MLflow: cells, their results, and queries on them."""

from orchestrator.results.dataframe import load_results

__all__ = ["load_results"]
