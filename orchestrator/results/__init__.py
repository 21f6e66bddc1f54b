"""What MLflow knows, read back: cells and what came of them."""

from orchestrator.results.dataframe import load_results

__all__ = ["load_results"]
