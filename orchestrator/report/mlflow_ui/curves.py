"""Comparison lines as MLflow runs: one run per pruner and facet, one step per compression."""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import TYPE_CHECKING

from orchestrator.colors import look
from orchestrator.report.mlflow_ui.view import apart
from orchestrator.results.lines import TOP1, Facet, facets, line, metric_reader, pruners
from orchestrator.results.results import Results
from orchestrator.results.store import mlflow_errors, runs
from search_spaces.labels import RUN_NAME, short

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MEASURES = {
    "curve/top1": TOP1,
    "curve/macs_kept": metric_reader("model/macs_kept"),
    "curve/speedup": metric_reader("model/speedup"),
    "curve/latency_ms": metric_reader("model/latency_ms"),
}
PARENT = "mlflow.parentRunId"
LoggedCurve = list[dict[str, float]]


def log_curves(client: MlflowClient, results: Results) -> list[str]:
    """Update the experiment's curve runs to match its results; return their ids.

    A curve with unchanged values is left alone. A curve with changed values is deleted and written again, because
    MLflow keeps every point ever logged, and old points would remain beside the new ones. Curves are children of the
    newest sweep's run: MLflow lists the newest runs first, and without a parent they would be its first screen.

    Raises:
        ReportError: if MLflow refuses.
    """
    with mlflow_errors():
        old: dict[str, Run] = {}
        for run in list(runs(client, results.experiment_id, "tags.kind = 'curve'")):  # read before any is deleted
            key = run.data.tags.get("curve", "")
            if key in old:
                client.delete_run(run.info.run_id)
            else:
                old[key] = run
        ids = []
        known = apart(results)
        for facet in facets(results):
            for pruner in pruners(results):
                if points := curve_entries(results, facet, pruner):
                    key = short(f"{pruner} · {facet.title}", RUN_NAME)
                    fields = {"dataset": facet.dataset, "architecture": facet.architecture, **dict(facet.settings)}
                    fields |= known.get(facet, {}) | {"pruner": pruner}  # so that one search finds it with its trials
                    ids.append(_settle(client, results, key, fields, points, old.pop(key, None)))
        for run in old.values():
            client.delete_run(run.info.run_id)
    return ids


def curve_entries(results: Results, facet: Facet, pruner: str) -> LoggedCurve:
    """Return one entry per compression with a result: means over seeds, without points that early stopping biased."""
    lines = {name: line(results, facet, pruner, measure) for name, measure in MEASURES.items()}
    steps = []
    for index, point in enumerate(lines["curve/top1"]):
        means = {name: points[index].mean for name, points in lines.items() if points[index].values}
        if means and not point.flatters:
            axis = {"curve/compression": point.compression, "curve/log2_compression": math.log2(point.compression)}
            steps.append(axis | means)
    return steps


def _settle(
    client: MlflowClient, results: Results, key: str, fields: dict[str, str], points: LoggedCurve, old: Run | None
) -> str:
    # Trials' fingerprints begin with a hexadecimal digit, so in sorted order those of curves are last, or first.
    fingerprint = f"means:{hashlib.sha256(json.dumps([fields, points]).encode()).hexdigest()[:16]}"
    if old is not None:
        if old.data.tags.get("fingerprint") == fingerprint and old.info.status == "FINISHED":
            if old.data.tags.get(PARENT) != results.sweeps[0].run_id:
                client.set_tag(old.info.run_id, PARENT, results.sweeps[0].run_id)
            return str(old.info.run_id)
        client.delete_run(old.info.run_id)
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    tags = {
        "kind": "curve",
        "curve": key,
        "fingerprint": fingerprint,
        "space": results.experiment,
        PARENT: results.sweeps[0].run_id,
        "mlflow.runColor": look(fields["pruner"]).color,
    }
    run = client.create_run(results.experiment_id, tags=tags, run_name=key)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now, step) for step, point in enumerate(points) for name, value in point.items()],
        params=[Param(key, value) for key, value in fields.items()],
    )
    client.set_terminated(run.info.run_id)  # marks it as complete: an unfinished one is written again
    return str(run.info.run_id)
