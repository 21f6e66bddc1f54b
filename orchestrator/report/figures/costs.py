"""Cost of a pruner itself: the time to find its masks, and the memory of the network that remains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.colors import look
from orchestrator.report.figures.style import Drawing, log_ticks
from orchestrator.results.lines import facets, pruners
from orchestrator.results.results import Results
from orchestrator.results.row import Row
from trainables.metrics import METRICS

COSTS = ("time/prune_seconds", "model/peak_mb")


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a figure with a row per pruner, most expensive last: a dot per run, a bar at the median."""
    rows = {row.run_id: row for row in results.rows if row.status == "finished" and row.cell.compression > 1}
    shown = {key: METRICS[key].title for key in COSTS if any(row.metrics.get(key, 0) > 0 for row in rows.values())}
    times = {pruner: _values(rows.values(), pruner, "time/prune_seconds") for pruner in pruners(results)}
    names = sorted((p for p, values in times.items() if values), key=lambda pruner: median(times[pruner]))
    if "time/prune_seconds" not in shown or not names:
        return
    figure = Figure(figsize=(3.4 if len(shown) == 1 else 6.9, 0.17 * len(names) + 0.7), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axis, (key, text) in zip(axes, shown.items(), strict=True):
        for y, pruner in enumerate(names):
            _dots(axis, y, pruner, _values(rows.values(), pruner, key))
        axis.set_xscale("log")
        log_ticks(axis.xaxis)
        axis.set_xlabel(text)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), names)
    several = " Runs on all architectures and datasets are in one row." if len(facets(results)) > 1 else ""
    caption = (
        "What each pruner costs. Left: seconds until its masks were found, including dense training before or between "
        "prunings if the trial did that itself. Right: tensors alive at the peak of one forward pass of 64 inputs, "
        f"after compaction. A dot per run, a bar at the median.{several}"
    )
    yield Drawing("costs", caption, figure)


def _values(rows: Iterable[Row], pruner: str, key: str) -> list[float]:
    return [row.metrics[key] for row in rows if row.cell.pruner == pruner and row.metrics.get(key, 0) > 0]


def _dots(axis: Axes, y: int, pruner: str, values: list[float]) -> None:
    color = look(pruner).color
    axis.plot(values, [y] * len(values), ".", color=color, alpha=0.35, markersize=5, markeredgewidth=0)
    if values:
        axis.plot([median(values)] * 2, [y - 0.32, y + 0.32], color=color, linewidth=2)
