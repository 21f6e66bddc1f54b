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
# The UI titles charts with their metrics' names whatever it is told, so sections carry the words.
TRADEOFF, CURVES, LAYERS, TRAINING = SECTIONS = (
    "Trade-off: one point per trial",
    "Curves: one line per pruner",
    "Layers: the step is the layer, input first",
    "Training: the step is the epoch",
)
# It also adds a bar chart for every other metric, to a section named like the metric's prefix: folded ones.
FOLDED = ("best", "curve", "final", "model", "profile", "prune", "test", "time", "train")


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
        "compareRunSections": [_section(name, name in SECTIONS) for name in (*SECTIONS, *FOLDED)],
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
        _scatter("model/compression", "final/top1"),
        _scatter("model/macs_kept", "final/top1"),
        _parallel(["pruner", "compression"], ["model/macs_kept", "model/latency_ms", "final/top1"]),
        # The UI draws no logarithmic axis for a metric; hence one that is logarithmic itself.
        _line(CURVES, "curve/top1", x="curve/log2_compression"),
        _line(CURVES, "curve/macs_kept", x="curve/log2_compression"),
        _line(CURVES, "curve/top1", x="curve/macs_kept"),
        _line(LAYERS, "profile/density"),
        _line(LAYERS, "profile/macs_kept"),
        _line(TRAINING, "test/top1"),
        _line(TRAINING, "train/loss"),
    ]
    return [{"uuid": f"chart-{index}", **chart} for index, chart in enumerate(charts)]


def _section(name: str, open_: bool) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": open_, "isReordered": True, "deleted": False, "isGenerated": False}


def _chart(kind: str, section: str, **settings: Any) -> dict[str, Any]:
    common = {"metricSectionId": section, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"type": kind, **common, **settings}


def _scatter(x: str, y: str) -> dict[str, Any]:
    return _chart("SCATTER", TRADEOFF, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def _parallel(params: list[str], metrics: list[str]) -> dict[str, Any]:
    return _chart("PARALLEL", TRADEOFF, selectedParams=params, selectedMetrics=metrics, showAllRuns=True)


def _line(section: str, metric: str, x: str = "") -> dict[str, Any]:
    """A metric against its step, or against the metric `x`."""
    return _chart(
        "LINE",
        section,
        metricKey=metric,
        selectedMetricKeys=[metric],
        yAxisKey="metric",
        yAxisExpressions=[],
        xAxisKey="metric" if x else "step",
        selectedXAxisMetricKey=x,
        useGlobalXaxisKey=False,
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        lineSmoothness=0,
        useGlobalLineSmoothing=True,
        ignoreOutliers=False,
    )
