"""Charts and sections as the pages of MLflow 3.17 save them: an undocumented format, which nothing else knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def section(name: str, shown: bool = True, columns: int = 3, height: int = 360) -> Json:
    """A section of charts, unfolded if `shown`; `height` in pixels."""
    state = {"display": shown, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": name, "name": name, "columns": columns, "cardHeight": height, **state}


def numbered(charts: Sequence[Json]) -> list[Json]:
    """The charts with the ids that the page wants."""
    return [{"uuid": f"chart-{index}", **chart} for index, chart in enumerate(charts)]


def scatter(section: str, x: str, y: str) -> Json:
    """A point per run: the last value of one metric against another's."""
    return _chart("SCATTER", section, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def parallel(section: str, params: Sequence[str], metrics: Sequence[str]) -> Json:
    """A line per run through its params and metrics, coloured by the last of them."""
    return _chart("PARALLEL", section, selectedParams=list(params), selectedMetrics=list(metrics), showAllRuns=True)


def bars(section: str, metric: str) -> Json:
    """A bar per run, or per group of runs: the mean."""
    return _chart("BAR", section, metricKey=metric, dataAccessKey=metric)


def images(section: str, key: str) -> Json:
    """A picture per run."""
    return _chart("IMAGE", section, imageKeys=[key], step=0, showRunParams=False)


def line(section: str, *metrics: str, x: str = "", logarithmic: bool = False) -> Json:
    """Metrics against their step, or against the metric `x`; `logarithmic` is the other axis."""
    return _chart(
        "LINE",
        section,
        metricKey=metrics[0],
        selectedMetricKeys=list(metrics),
        yAxisKey="metric",
        yAxisExpressions=[],
        xAxisKey="metric" if x else "step",
        selectedXAxisMetricKey=x,
        useGlobalXaxisKey=False,
        xAxisScaleType="linear",  # the page draws no other for a metric
        scaleType="log" if logarithmic else "linear",
        range={},
        lineSmoothness=0,
        useGlobalLineSmoothing=True,
        ignoreOutliers=False,
    )


def _chart(kind: str, section: str, **settings: Any) -> Json:
    common = {"metricSectionId": section, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"type": kind, **common, **settings}
