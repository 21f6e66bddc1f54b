"""What MLflow knows, read back: cells and what came of them."""
