"""Saved views for MLflow's own pages: the sweep's charts, instead of one bar chart per metric.

A page draws the first hundred runs of its list, so what these are decides what a view of a large sweep tells.
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


FIRST = ("dataset", "architecture")  # what people would search for


def params_of(results: Results) -> dict[Facet, dict[str, str]]:
    """By facet, the params with one value in all of its pruned trials."""
    shared: dict[Facet, dict[str, str]] = {}
    for row in results.rows:
        trial = results.trials[row.cell.fingerprint]
        if trial.pruner == "dense":  # shared between facets: at 1x, what they differ in may not matter
            continue
        params, facet = trial.params(), facet_of(row)
        known = shared.setdefault(facet, params)
        shared[facet] = {key: value for key, value in known.items() if params.get(key) == value}
    return {facet: shared[facet] for facet in facets(results) if facet in shared}


def apart(results: Results) -> dict[Facet, dict[str, str]]:
    """By facet, the fewest of these params that no other facet has, the dataset and the architecture first."""
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
KEY = "pruning-sweep"
FACETS = 8  # with views of their own: each is a line in a menu
# The page titles charts with their metrics' names whatever it is told, so sections carry the words (thirty letters).
CURVES = "Curves: the mean over seeds"
TRADEOFF = "Trade-off: one point per trial"
LAYERS = "Layers: the step is the layer"
TRAINING = "Training: the step is the epoch"
HISTOGRAMS = "Histograms: kept weights"
NUMBERS = "Numbers: the mean over seeds"
# It also adds a bar chart for every other metric, to a section named like the metric's prefix: folded ones.
FOLDED = tuple(sorted({name.partition("/")[0] for name, kept in METRICS.items() if kept.when != "audit"} | {"curve"}))
COLUMNS = ("pruner", "compression", "architecture", "dataset", "seed")
SELECTED = ("final/top1", "model/compression", "model/macs_kept", "model/latency_ms", "time/total_seconds")


def save_overview(client: MlflowClient, experiment_id: str) -> None:
    """Save the view of the whole experiment, which needs no results.

    Raises:
        ReportError: if MLflow refuses.
    """
    _save(client, experiment_id, KEY, "Pruning sweep", overview())


def save_views(client: MlflowClient, results: Results) -> None:
    """Save the overview and, for each facet, one of its own and one with the pruners side by side.

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
    """The page of an experiment that opens on the overview, to be put behind the server's address."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={KEY}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def _prefixes(results: Results) -> set[str]:
    """Of the metrics that trials have logged: of others there is nothing to fold."""
    return {name.partition("/")[0] for row in (*results.rows, *results.tried) for name in row.metrics}


def overview(params: Mapping[str, str] | None = None, folded: Sequence[str] = FOLDED) -> dict[str, Any]:
    """The curves and the trials; those with the given params, or all.

    A trial's fingerprint is a hash: sorted by it, the hundred that are drawn are a fair sample of any sweep. Curves
    have one that comes before all of these, so they are always complete.
    """
    shown = [
        # No axis of a metric is logarithmic; hence a metric that is logarithmic itself.
        line(CURVES, "curve/top1", x="curve/log2_compression"),
        line(CURVES, "curve/top1", x="curve/macs_kept"),
        line(CURVES, "curve/top1", x="curve/latency_ms"),
        line(CURVES, "curve/macs_kept", x="curve/log2_compression", logarithmic=True),
        line(CURVES, "curve/latency_ms", x="curve/log2_compression"),
        scatter(TRADEOFF, "model/compression", "final/top1"),
        scatter(TRADEOFF, "model/macs_kept", "final/top1"),
        scatter(TRADEOFF, "model/latency_ms", "final/top1"),
        parallel(TRADEOFF, ["pruner", "compression"], ["model/macs_kept", "model/latency_ms", "final/top1"]),
        line(LAYERS, "profile/density", logarithmic=True),
        line(LAYERS, "profile/macs_kept", logarithmic=True),
        line(TRAINING, "test/top1"),
        line(TRAINING, "train/loss", logarithmic=True),
        images(HISTOGRAMS, "histograms"),
    ]
    sections = [section(CURVES), section(TRADEOFF, columns=2), section(LAYERS, columns=2),
                section(TRAINING, columns=2), _histograms()]  # fmt: skip
    query = " and ".join(["tags.kind != 'sweep'", *_equal(params or {})])
    return _state(query, "tags.`fingerprint`", sections, shown, folded)


def _asked(results: Results, facet: Facet) -> list[tuple[Amount, str]]:
    """How much was to be pruned, as trials log it and in words, least first: where the most pruners can be compared."""
    found: dict[tuple[Amount, str], set[str]] = {}
    for row in sorted(results.rows, key=lambda row: row.cell.compression):
        trial = results.trials[row.cell.fingerprint]
        if facet_of(row) == facet and trial.pruner != "dense":
            found.setdefault((_amount(trial.params()), amount(trial)), set()).add(row.cell.pruner)
    most = max(map(len, found.values()), default=0)
    return [asked for asked, names in found.items() if len(names) == most]


def _amount(params: Mapping[str, str]) -> Amount:
    """The param and its value; of a kappa, as the compression is only what came of it."""
    key = "kappa" if params["kappa"] != "0" else "compression"
    return key, params[key]


def side_by_side(
    results: Results, facet: Facet, params: Mapping[str, str], asked: Amount, folded: Sequence[str] = FOLDED
) -> dict[str, Any]:
    """The trials of one facet pruned as much, where all else is equal; of several seeds a group for each pruner."""
    shown = [
        *(bars(NUMBERS, metric) for metric in ("final/top1", "model/macs_kept", "model/latency_ms")),
        line(LAYERS, "profile/density"),
        line(LAYERS, "profile/macs_kept", logarithmic=True),
        line(TRAINING, "test/top1"),
        line(TRAINING, "train/loss", logarithmic=True),
        images(HISTOGRAMS, "histograms"),
    ]
    sections = [section(NUMBERS), section(LAYERS, columns=2), section(TRAINING, columns=2), _histograms()]
    query = " and ".join(["tags.kind = 'trial'", *_equal(dict([*params.items(), asked]))])
    state = _state(query, "metrics.`final/top1`", sections, shown, folded)
    mine = [results.trials[row.cell.fingerprint].params() for row in results.rows if facet_of(row) == facet]
    trials = [trial for trial in mine if trial["pruner"] != "dense" and _amount(trial) == asked]
    if len({trial["seed"] for trial in trials}) > 1:  # groups have colours of their own, so none where none is needed
        keys = [{"mode": "param", "groupByData": key} for key in _variants(trials)]
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    return state


def _histograms() -> Json:
    """Folded: for its pictures, of ten runs, the page asks each run. Of groups it shows none."""
    return section(HISTOGRAMS, shown=False, columns=1, height=720)


def _variants(trials: Iterable[Mapping[str, str]]) -> list[str]:
    """The pruner, and the settings in which the trials of one pruner differ: those are not its seeds."""
    first: dict[str, Mapping[str, str]] = {}
    differing: dict[str, None] = {"pruner": None}
    for params in trials:
        known = first.setdefault(params["pruner"], params)
        differing |= {key: None for key in params if key != "seed" and params[key] != known.get(key)}
    return list(differing)


def _equal(params: Mapping[str, str]) -> list[str]:
    """As MLflow's search wants it, which knows no escapes."""
    quoted = {key: f'"{value}"' if "'" in value else f"'{value}'" for key, value in params.items()}
    return [f"params.`{key}` = {value}" for key, value in quoted.items()]


def _state(
    query: str, order: str, sections: Sequence[Json], shown: Sequence[Json], folded: Sequence[str]
) -> dict[str, Any]:
    """The page's state: which runs, which columns, which"""
    return {
        # Sorted by anything but the date of creation, runs are listed flat rather than folded under their parent.
        "searchFilter": query,
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*(f"params.`{name}`" for name in COLUMNS), *(f"metrics.`{name}`" for name in SELECTED)],
        "runsHiddenMode": "SHOW_ALL",  # the page's own choice is to draw the first ten
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
