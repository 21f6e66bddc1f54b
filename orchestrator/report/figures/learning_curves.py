"""Test accuracy over the epochs, which shows the pruned networks that train slowly or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.colors import GREY, Look, look
from orchestrator.report.figures.style import Drawing, evenly_spaced, file_name, label, legend, panel_grid
from orchestrator.results.details import History
from orchestrator.results.lines import Facet, facets, pruned, pruners, rows_at
from orchestrator.results.results import Results

PANELS = 3
SeedCurve = dict[int, tuple[float, float, float]]  # epoch -> lowest, median and highest of the seeds, in percent


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per facet: one panel per compression, one line per pruner at the median of its seeds."""
    for facet in facets(results):
        shown = evenly_spaced(pruned(results, facet), PANELS)
        places = [(pruner, c) for pruner in pruners(results) for c in [1.0, *shown]]
        runs = {
            place: [row.run_id for row in rows_at(results, facet, *place) if row.status == "finished"]
            for place in places
        }
        histories = results.details.histories([run for ids in runs.values() for run in ids], "test/top1")
        curves = {place: accuracy_per_epoch([histories[run] for run in ids]) for place, ids in runs.items()}
        if any(c > 1 and len(line) > 1 for (_, c), line in curves.items()):
            yield _figure(results, facet, shown, curves)


def accuracy_per_epoch(histories: Sequence[History]) -> SeedCurve:
    """Return lowest, median and highest accuracy per epoch, over the seeds that reached it."""
    found = {}
    for epoch in sorted({epoch for history in histories for epoch in history}):
        values = [100 * history[epoch] for history in histories if epoch in history]
        found[epoch] = (min(values), median(values), max(values))
    return found


def _figure(
    results: Results, facet: Facet, shown: Sequence[float], curves: Mapping[tuple[str, float], SeedCurve]
) -> Drawing:
    figure, axes = panel_grid(len(shown), sharey=True)
    dense = next((curves[pruner, 1.0] for pruner in pruners(results) if curves[pruner, 1.0]), None)
    seeds = max(len(rows_at(results, facet, pruner, c)) for pruner, c in curves)
    handles = []
    for axis, compression in zip(axes, shown, strict=True):
        if dense:
            handles.append(_line(axis, dense, "dense", Look(GREY, "", "--")))
        for place, pruner in enumerate(pruners(results)):
            if line := curves[pruner, compression]:
                handles.append(_line(axis, line, pruner, look(pruner), place))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.margins(x=0.02)
        axis.set_title(f"{compression:g}x")
    label(axes, "epoch", "test accuracy (%)")
    legend(figure, handles, title=facet.title)
    note = f"Lines are medians of up to {seeds} seeds, bands their range." if seeds > 1 else "One seed."
    caption = f"{facet.title}: test accuracy after each epoch of the training that follows pruning. {note}"
    return Drawing(file_name("training", facet.title), caption, figure)


def _line(axis: Axes, curve: SeedCurve, name: str, style: Look, place: int | None = None) -> Line2D:
    """Draw a curve; that of the pruner number `place` with a band, and with a few markers, for readers without colour.

    At 160 epochs markers on all would cover everything, and in one place those of all pruners would cover each other.
    """
    low, middle, high = zip(*curve.values(), strict=True)
    step = max(1, len(curve) // 5)
    marks = None if place is None else (place % step, step)
    (line,) = axis.plot(list(curve), middle, **style.line, markevery=marks, markersize=3, linewidth=1.1, label=name)
    if place is not None and low != high:
        axis.fill_between(list(curve), low, high, color=style.color, alpha=0.14, linewidth=0)
    return line
