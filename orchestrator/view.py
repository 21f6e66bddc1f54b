"""A saved view for MLflow's own pages: the sweep's charts, instead of one bar chart per metric.

The format is not documented; it is what the UI of MLflow 3.17 writes under "Views". Nothing else depends on it.
"""

from __future__ import annotations

import json
import time
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from orchestrator.results import mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "pruning-sweep"
SECTIONS = ("Trade-off", "Curves", "Layers", "Training")


def save_view(client: MlflowClient, experiment_id: str) -> str:
    """Save the view; returns the path of the page that opens on it, to be put behind the server's address.

    Raises:
        ReportError: if MLflow refuses.
    """
    packed = b64encode(zlib.compress(json.dumps(state()).encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": "Pruning sweep", "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    with mlflow_errors():
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{KEY}", json.dumps(view))
    return link(experiment_id)


def link(experiment_id: str) -> str:
    """The page of an experiment that opens on the saved view."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={KEY}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def state() -> dict[str, Any]:
    """The page's state: which runs, which columns, which charts."""
    return {
        # Sorted by anything but the date of creation, runs are listed flat rather than folded under their parent.
        "searchFilter": "tags.kind != 'sweep'",
        "orderByKey": "metrics.`final/top1`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            "params.`architecture`",
            "params.`pruner`",
            "params.`compression`",
            "params.`seed`",
            "metrics.`final/top1`",
            "metrics.`model/macs_kept`",
        ],
        "runsHiddenMode": "SHOW_ALL",  # the UI's own choice is to draw the first ten
        "compareRunSections": [_section(index, name) for index, name in enumerate(SECTIONS)],
        "compareRunCharts": _charts(),
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "viewMaximized": True,  # charts need the room; the list is one click away
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _charts() -> list[dict[str, Any]]:
    charts = [
        _scatter("Accuracy against compression", "model/compression", "final/top1"),
        _scatter("Accuracy against MACs kept", "model/macs_kept", "final/top1"),
        _parallel(["pruner", "compression"], ["model/macs_kept", "model/latency_ms", "final/top1"]),
        _line("Accuracy against log2(compression)", 1, ["curve/top1"], "curve/log2_compression"),
        _line("MACs kept against log2(compression)", 1, ["curve/macs_kept"], "curve/log2_compression"),
        _line("Accuracy against MACs kept", 1, ["curve/top1"], "curve/macs_kept"),
        _line("Density of each layer, input first", 2, ["profile/density"]),
        _line("MACs kept in each layer, input first", 2, ["profile/macs_kept"]),
        _line("Test accuracy by epoch", 3, ["test/top1"]),
        _line("Training loss by epoch", 3, ["train/loss"]),
    ]
    return [{"uuid": f"chart-{index}", **chart} for index, chart in enumerate(charts)]


def _section(index: int, name: str) -> dict[str, Any]:
    flags = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"section-{index}", "name": name, **flags}


def _chart(kind: str, title: str, section: int, **settings: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "displayName": title,
        "metricSectionId": f"section-{section}",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        **settings,
    }


def _scatter(title: str, x: str, y: str) -> dict[str, Any]:
    return _chart("SCATTER", title, 0, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def _parallel(params: list[str], metrics: list[str]) -> dict[str, Any]:
    return _chart(
        "PARALLEL", "What goes with accuracy", 0,
        selectedParams=params, selectedMetrics=metrics, showAllRuns=True,
    )  # fmt: skip


def _line(title: str, section: int, metrics: list[str], x: str = "") -> dict[str, Any]:
    """Metrics against their step, or against the metric `x`."""
    return _chart(
        "LINE", title, section,
        metricKey=metrics[0], selectedMetricKeys=metrics, yAxisKey="metric", yAxisExpressions=[],
        xAxisKey="metric" if x else "step", selectedXAxisMetricKey=x, useGlobalXaxisKey=False,
        xAxisScaleType="linear", scaleType="linear", range={},
        lineSmoothness=0, useGlobalLineSmoothing=True, ignoreOutliers=False,
    )  # fmt: skip
