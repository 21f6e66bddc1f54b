"""Accuracy against compression: the main figure of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from orchestrator.colors import GREY, look
from orchestrator.report.compare_published import published_lines
from orchestrator.report.figures.against_compression import (
    COLLAPSED,
    HOLE,
    coincidence_note,
    draw_lines,
    make_room,
    seeds_note,
)
from orchestrator.report.figures.style import Drawing, label, legend, panel_grid, pruner_handles
from orchestrator.results.lines import Facet, compressions, dense, facet_of, facets, line, pruners
from orchestrator.results.results import Results
from orchestrator.results.row import Row

TICKS = (90, 50, 99, 10, 95, 80, 98, 70, 94, 85, 92, 30, 96, 97, 60, 93, 91, 40, 75, 99.5, 100, 20, 0)  # roundest first
STRETCHED = "The vertical axis is stretched towards 100 %: equal distances are equal ratios of error."


def top1(row: Row) -> float | None:
    """Return the test accuracy after the last epoch, in percent; the best epoch would be chosen on the test set."""
    value = row.metrics.get("final/top1")
    return None if value is None else 100 * value


def draw(results: Results) -> Iterator[Drawing]:
    """Yield the figure of accuracy against compression, with a panel per facet."""
    shown = [facet for facet in facets(results) if _tried(results, facet)]
    if not shown:
        return  # only a search without chosen settings so far
    figure, axes = panel_grid(len(shown), sharey=False)
    marks: list[Artist] = []
    sources: list[str] = []
    for axis, facet in zip(axes, shown, strict=True):
        marks += accuracy_axis(axis, results, facet, _others(results, facet))
        marks += draw_lines(axis, results, facet, top1)
        marks += _published(axis, results, facet, sources)
        axis.set_title(facet.title)
    label(axes, "compression", "test accuracy (%)")
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    caption = (
        f"Test accuracy after the last epoch against compression. {seeds_note(results)}"
        f"{coincidence_note(results, shown, top1)} {STRETCHED}"
        + (
            " Hollow markers: a run was left without a path of weights from input to output."
            if COLLAPSED in marks
            else ""
        )
        + (" Crosses: every run failed or was stopped early." if HOLE in marks else "")
    )
    if waiting := [facet.title for facet in facets(results) if facet not in shown]:
        caption += f" Without a result yet: {', '.join(waiting)}."
    if any(row.cell.kappa for row in results.rows):
        caption += " Where kappa (the share of filters removed) was given, the compression is the one that it reached."
    if sources:
        caption += (
            f" Faint lines: published results ({'; '.join(dict.fromkeys(sources))}). Their recipes differ from this "
            "one; the table of published numbers lists the differences."
        )
    yield Drawing("accuracy", caption, figure)


def _tried(results: Results, facet: Facet) -> bool:
    """Return True if the facet has a result or a point that was lost."""
    points = (point for pruner in pruners(results) for point in line(results, facet, pruner, top1))
    return any(point.values or point.lost for point in points)


def _published(axis: Axes, results: Results, facet: Facet, sources: list[str]) -> Iterator[Artist]:
    """Draw published lines behind ours in the same colours, add their source to `sources`, and yield legend entries."""
    source, lines = published_lines(results, facet)
    for pruner, rows in lines.items():
        x, y = [row.compression for row in rows], [row.top1 for row in rows]
        axis.plot(x, y, color=look(pruner).color, linewidth=2.6, alpha=0.28, zorder=1.5)
        yield Line2D([], [], color=GREY, linewidth=2.6, alpha=0.4, label="published")
    sources += [source] if source else []


def _others(results: Results, facet: Facet) -> list[float]:
    """Return the published accuracies in a dataset's panels, within the range of our compressions."""
    found = []
    for other in facets(results):
        if other.dataset == facet.dataset and (asked := compressions(results, other)):
            lines = published_lines(results, other)[1].values()
            found += [row.top1 for rows in lines for row in rows if asked[0] <= row.compression <= asked[-1]]
    return found


def accuracy_axis(axis: Axes, results: Results, facet: Facet, others: Sequence[float] = ()) -> Iterator[Artist]:
    """Stretch the axis towards 100 %, and draw the dense network's accuracy and that of guessing as references.

    On a linear axis a collapsed pruner at 10 % squeezes 93 % and 91 %, the difference in question, into one
    line. The logarithm of the error keeps both visible; the half point keeps 100 % finite.
    """
    unpruned, classes = dense(results, facet, top1), classes_of(results, facet)
    rows = [row for row in results.rows if row.cell.dataset == facet.dataset and row.status == "finished"]
    values = [value for row in rows if (value := top1(row)) is not None]  # one range for all panels of a dataset
    values = [*values, *others] or [0.0, 100.0]  # a dataset may still have no result
    stretch(axis, min([*values, 100 / classes] if classes else values), max(values))
    if unpruned is not None:
        yield axis.axhline(unpruned.mean, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, label="dense")
    if classes:
        yield axis.axhline(100 / classes, color=GREY, linestyle=":", linewidth=0.9, label="chance")


def stretch(axis: Axes, low: float, high: float) -> None:
    """Set the axis to accuracies from `low` to `high` in percent, stretched towards 100 %."""
    axis.set_yscale("function", functions=(_stretch, _squeeze))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(low, min(100.0, high + (100.5 - high) / 5))
    make_room(axis, 0.07)
    axis.yaxis.set_major_locator(FixedLocator(_spaced(axis)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _stretch(accuracy: Any) -> Any:
    return -np.log(100.5 - np.minimum(accuracy, 100.4))


def _squeeze(height: Any) -> Any:
    return 100.5 - np.exp(-height)


def _spaced(axis: Axes, room: float = 0.1) -> list[float]:
    """Return as many ticks as fit with `room` of the axis between them, the roundest numbers first."""
    low, high = axis.get_ylim()
    stretch = _stretch(np.array([low, high]))
    chosen: list[float] = []
    for tick in (t for t in TICKS if low <= t <= high):
        if all(abs(_stretch(tick) - _stretch(other)) >= room * (stretch[1] - stretch[0]) for other in chosen):
            chosen.append(tick)
    return chosen


def classes_of(results: Results, facet: Facet) -> int:
    """Return the number of outputs of the last layer in `layers.json`; 0 if no run has one."""
    for row in results.rows:
        if row.status == "finished" and facet_of(row) == facet:
            layers = results.details.artifact(row.run_id, "layers.json")
            if layers:
                shapes = [str(entry[layers["columns"].index("shape")]) for entry in layers["data"]]
                return int(re.findall(r"\d+", next(filter(None, reversed(shapes))))[0])
    return 0
