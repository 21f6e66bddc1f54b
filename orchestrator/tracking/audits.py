"""Writer of an audit's findings to the audited runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.results.store import mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "audited"
LONGEST = 500  # characters of the tag


def log_audit(client: MlflowClient, run_id: str, metrics: Mapping[str, float], words: str) -> None:
    """Log the metrics `audit/…` and the tag `audited` of a run in one request.

    Raises:
        ReportError: if MLflow refuses the request.
    """
    from mlflow.entities import Metric, RunTag

    now = time.time_ns() // 1_000_000
    points = [Metric(key, value, now, 0) for key, value in metrics.items()]
    with mlflow_errors():
        client.log_batch(run_id, metrics=points, tags=[RunTag(TAG, words[:LONGEST])])
