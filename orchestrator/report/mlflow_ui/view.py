"""Saved views for MLflow's own pages: the sweep's charts, instead of one bar chart per metric.

A page draws the first hundred runs of its list, so the order of runs decides what the view of a large sweep shows.
"""

from __future__ import annotations

import json
import time
import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.results.lines import Facet, facet_of, facets
from orchestrator.results.results import Results
from orchestrator.results.store import mlflow_errors
from search_spaces import amount
from trainables.metrics import METRICS

if TYPE_CHECKING:
    from mlflow import MlflowClient


FIRST = ("dataset", "architecture")  # the params that people are most likely to search for


def params_of(results: Results) -> dict[Facet, dict[str, str]]:
    """Return, by facet, the params with one value in all of its pruned trials."""
    shared: dict[Facet, dict[str, str]] = {}
    for row in results.rows:
        trial = results.trials[row.cell.fingerprint]
        if trial.pruner == "dense":  # shared between facets: at 1x, the settings in which they differ may not matter
            continue
        params, facet = trial.params(), facet_of(row)
        known = shared.setdefault(facet, params)
        shared[facet] = {key: value for key, value in known.items() if params.get(key) == value}
    return {facet: shared[facet] for facet in facets(results) if facet in shared}


def apart(results: Results) -> dict[Facet, dict[str, str]]:
    """Return, by facet, the fewest of these params that no other facet has, dataset and architecture first."""
    shared = params_of(results)
    return {facet: _fewest(params, [o for f, o in shared.items() if f != facet]) for facet, params in shared.items()}


def _fewest(params: Mapping[str, str], others: list[dict[str, str]]) -> dict[str, str]:
    found = {}
    for key in sorted(params, key=lambda key: key not in FIRST):
        left = [other for other in others if other.get(key) == params[key]]
        if len(left) < len(others):
            found[key] = params[key]
        others = left
    return found


Amount = tuple[str, str]  # a param of trials and its value: ("compression", "10"), ("kappa", "0.5")
LOCAL_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` listens
KEY = "pruning-sweep"
FACETS = 8  # most facets with views of their own: each view is a line in a menu
# The page always titles charts with their metrics' names, so section names carry the words (at most 30 letters).
CURVES = "Curves: the mean over seeds"
TRADEOFF = "Trade-off: one point per trial"
LAYERS = "Layers: the step is the layer"
TRAINING = "Training: the step is the epoch"
HISTOGRAMS = "Histograms: kept weights"
NUMBERS = "Numbers: the mean over seeds"
# The page adds a bar chart for each other metric to a section named like the metric's prefix; those are folded.
FOLDED = tuple(sorted({name.partition("/")[0] for name, kept in METRICS.items() if kept.when != "audit"} | {"curve"}))
COLUMNS = ("pruner", "compression", "architecture", "dataset", "seed")
SELECTED = ("final/top1", "model/compression", "model/macs_kept", "model/speedup", "time/total_seconds")


def save_overview(client: MlflowClient, experiment_id: str) -> None:
    """Save the view of the whole experiment, which needs no results.

    Raises:
        ReportError: if MLflow refuses.
    """
    _save(client, experiment_id, KEY, "Pruning sweep", overview())


def save_views(client: MlflowClient, results: Results) -> None:
    """Save the overview and, for each facet, a view of its own and one with its pruners side by side.

    Raises:
        ReportError: if MLflow refuses.
    """
    folded = tuple(name for name in FOLDED if name in _prefixes(results))
    _save(client, results.experiment_id, KEY, "Pruning sweep", overview(folded=(*folded, "curve")))
    known = apart(results)
    for number, (facet, params) in enumerate(list(known.items())[:FACETS]):
        if len(known) > 1:
            _save(client, results.experiment_id, f"{KEY}-{number}", facet.title, overview(params, (*folded, "curve")))
        if steps := _asked(results, facet):
            asked, words = steps[len(steps) // 2]
            state = side_by_side(results, facet, params, asked, folded)
            _save(client, results.experiment_id, f"{KEY}-{number}-pruners", f"{facet.title} at {words}", state)


def link(experiment_id: str) -> str:
    """Return the address of the experiment's page with the overview open, relative to the server's address."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={KEY}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def run_link(tracking_uri: str, experiment_id: str) -> str:
    """Return the address of a run's page without the run's id, of the server or of the one that `mlflow ui` starts."""
    server = tracking_uri.rstrip("/") if tracking_uri.startswith("http") else LOCAL_SERVER
    return f"{server}/#/experiments/{experiment_id}/runs/"


def _prefixes(results: Results) -> set[str]:
    """Return the prefixes of all metrics that trials have logged; others have no section to fold."""
    return {name.partition("/")[0] for row in (*results.rows, *results.tried) for name in row.metrics}


def overview(params: Mapping[str, str] | None = None, folded: Sequence[str] = FOLDED) -> dict[str, Any]:
    """Return the view of curves and trials, of all or of those with the given params.

    A trial's fingerprint is a hash: sorted by it, the hundred runs that are drawn are a fair sample of any sweep. The
    fingerprints of curves sort before them, so curves are always complete.
    """
    shown = [
        # A metric as x axis cannot be logarithmic, so the logarithm is logged as a metric of its own.
        line_chart(CURVES, "curve/top1", x="curve/log2_compression"),
        line_chart(CURVES, "curve/top1", x="curve/macs_kept"),
        line_chart(CURVES, "curve/top1", x="curve/speedup"),
        line_chart(CURVES, "curve/macs_kept", x="curve/log2_compression", logarithmic=True),
        line_chart(CURVES, "curve/speedup", x="curve/log2_compression"),
        scatter(TRADEOFF, "model/compression", "final/top1"),
        scatter(TRADEOFF, "model/macs_kept", "final/top1"),
        scatter(TRADEOFF, "model/speedup", "final/top1"),
        parallel(TRADEOFF, ["pruner", "compression"], ["model/macs_kept", "model/speedup", "final/top1"]),
        line_chart(LAYERS, "profile/density", logarithmic=True),
        line_chart(LAYERS, "profile/macs_kept", logarithmic=True),
        line_chart(TRAINING, "test/top1"),
        line_chart(TRAINING, "train/loss", logarithmic=True),
        picture_chart(HISTOGRAMS, "histograms"),
    ]
    sections = [section(CURVES), section(TRADEOFF, columns=2), section(LAYERS, columns=2),
                section(TRAINING, columns=2), _histograms()]  # fmt: skip
    query = " and ".join(["tags.kind != 'sweep'", *_equal(params or {})])
    return _state(query, "tags.`fingerprint`", sections, shown, folded)


def _asked(results: Results, facet: Facet) -> list[tuple[Amount, str]]:
    """Return how much was to be pruned, as a param and in words, least first, where the most pruners are comparable."""
    found: dict[tuple[Amount, str], set[str]] = {}
    for row in sorted(results.rows, key=lambda row: row.cell.compression):
        trial = results.trials[row.cell.fingerprint]
        if facet_of(row) == facet and trial.pruner != "dense":
            found.setdefault((_amount(trial.params()), amount(trial)), set()).add(row.cell.pruner)
    most = max(map(len, found.values()), default=0)
    return [asked for asked, names in found.items() if len(names) == most]


def _amount(params: Mapping[str, str]) -> Amount:
    """Return the param and its value: kappa where it is set, as the compression is then only a result."""
    key = "kappa" if params["kappa"] != "0" else "compression"
    return key, params[key]


def side_by_side(
    results: Results, facet: Facet, params: Mapping[str, str], asked: Amount, folded: Sequence[str] = FOLDED
) -> dict[str, Any]:
    """Return a view of one facet's trials at one amount of pruning; with several seeds, grouped by pruner."""
    shown = [
        *(bars(NUMBERS, metric) for metric in ("final/top1", "model/macs_kept", "model/speedup")),
        line_chart(LAYERS, "profile/density"),
        line_chart(LAYERS, "profile/macs_kept", logarithmic=True),
        line_chart(TRAINING, "test/top1"),
        line_chart(TRAINING, "train/loss", logarithmic=True),
        picture_chart(HISTOGRAMS, "histograms"),
    ]
    sections = [section(NUMBERS), section(LAYERS, columns=2), section(TRAINING, columns=2), _histograms()]
    query = " and ".join(["tags.kind = 'trial'", *_equal(dict([*params.items(), asked]))])
    state = _state(query, "metrics.`final/top1`", sections, shown, folded)
    mine = [results.trials[row.cell.fingerprint].params() for row in results.rows if facet_of(row) == facet]
    trials = [trial for trial in mine if trial["pruner"] != "dense" and _amount(trial) == asked]
    if len({trial["seed"] for trial in trials}) > 1:  # groups have other colours: only for several seeds
        keys = [{"mode": "param", "groupByData": key} for key in _variants(trials)]
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    return state


def _histograms() -> Json:
    """Return the histograms' section, folded: for the pictures of ten runs the page sends a request per run.

    For groups the page shows no pictures.
    """
    return section(HISTOGRAMS, shown=False, columns=1, height=720)


def _variants(trials: Iterable[Mapping[str, str]]) -> list[str]:
    """Return "pruner" and the settings, except the seed, in which trials of one pruner differ."""
    first: dict[str, Mapping[str, str]] = {}
    differing: dict[str, None] = {"pruner": None}
    for params in trials:
        known = first.setdefault(params["pruner"], params)
        differing |= {key: None for key in params if key != "seed" and params[key] != known.get(key)}
    return list(differing)


def _equal(params: Mapping[str, str]) -> list[str]:
    """Return search conditions in the syntax of MLflow's search, which has no escapes."""
    quoted = {key: f'"{value}"' if "'" in value else f"'{value}'" for key, value in params.items()}
    return [f"params.`{key}` = {value}" for key, value in quoted.items()]


def _state(
    query: str, order: str, sections: Sequence[Json], shown: Sequence[Json], folded: Sequence[str]
) -> dict[str, Any]:
    """Return the page's state: which runs, in which order, with which columns, sections and charts."""
    return {
        # Sorted by anything but the creation date, runs are listed flat instead of folded under their parent.
        "searchFilter": query,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*(f"params.`{name}`" for name in COLUMNS), *(f"metrics.`{name}`" for name in SELECTED)],
        "runsHiddenMode": "SHOW_ALL",  # by default the page draws only the first ten
        "compareRunSections": [*sections, *(section(name, shown=False) for name in folded)],
        "compareRunCharts": numbered(shown),
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _save(client: MlflowClient, experiment_id: str, key: str, name: str, state: Mapping[str, Any]) -> None:
    packed = b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    with mlflow_errors():
        client.set_experiment_tag(experiment_id, f"mlflow.sharedViewState.{key}", json.dumps(view))


Json = dict[str, Any]


def section(name: str, shown: bool = True, columns: int = 3, height: int = 360) -> Json:
    """Return a section of charts, unfolded if `shown`; `height` in pixels."""
    state = {"display": shown, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": name, "name": name, "columns": columns, "cardHeight": height, **state}


def numbered(charts: Sequence[Json]) -> list[Json]:
    """Return the charts with the ids that the page requires."""
    return [{"uuid": f"chart-{index}", **chart} for index, chart in enumerate(charts)]


def scatter(section: str, x: str, y: str) -> Json:
    """Return a chart with a point per run: the last value of one metric against another's."""
    return _chart("SCATTER", section, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def parallel(section: str, params: Sequence[str], metrics: Sequence[str]) -> Json:
    """Return a chart with a line per run through its params and metrics, coloured by the last of them."""
    return _chart("PARALLEL", section, selectedParams=list(params), selectedMetrics=list(metrics), showAllRuns=True)


def bars(section: str, metric: str) -> Json:
    """Return a chart with a bar per run, or per group of runs with its mean."""
    return _chart("BAR", section, metricKey=metric, dataAccessKey=metric)


def picture_chart(section: str, key: str) -> Json:
    """Return a chart with a picture per run."""
    return _chart("IMAGE", section, imageKeys=[key], step=0, showRunParams=False)


def line_chart(section: str, *metrics: str, x: str = "", logarithmic: bool = False) -> Json:
    """Return a chart of metrics against their step, or against the metric `x`; `logarithmic` is for the y axis."""
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
        xAxisScaleType="linear",  # the page supports no other scale for a metric
        scaleType="log" if logarithmic else "linear",
        range={},
        lineSmoothness=0,
        useGlobalLineSmoothing=True,
        ignoreOutliers=False,
    )


def _chart(kind: str, section: str, **settings: Any) -> Json:
    common = {"metricSectionId": section, "runsCountToCompare": 100, "deleted": False, "isGenerated": False}
    return {"type": kind, **common, **settings}
