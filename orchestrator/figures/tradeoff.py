"""Accuracy against MACs kept: what accuracy a budget of work buys, whichever weights paid for it."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.artist import Artist

from orchestrator.colors import look
from orchestrator.figures.accuracy import STRETCHED, accuracy_axis, percent
from orchestrator.figures.against_compression import draw_line
from orchestrator.figures.drawing import Drawing, label, legend, log_percent, panels, pruner_handles
from orchestrator.figures.macs import percent_kept
from orchestrator.lines import facets, line, pruners
from orchestrator.results import Results


def draw(results: Results) -> Iterator[Drawing]:
    if all(percent_kept(row) is None for row in results.rows):
        return
    shown = facets(results)
    figure, axes = panels(len(shown), sharey=False)
    marks: list[Artist] = []
    for axis, facet in zip(axes, shown, strict=True):
        axis.set_xscale("log")
        marks += accuracy_axis(axis, results, facet)
        for pruner in pruners(results):
            work = line(results, facet, pruner, percent_kept)
            points = line(results, facet, pruner, percent)
            marks += draw_line(axis, [point.mean for point in work], points, look(pruner))
        axis.invert_xaxis()  # pruned further to the right, as in the other figures
        log_percent(axis.xaxis)
        axis.set_title(facet.title)
    label(axes, "MACs kept (% of dense)", "test accuracy (%)")
    legend(figure, [*pruner_handles(pruners(results)), *marks])
    caption = (
        "Test accuracy after the last epoch against the multiply-accumulates that remain: means over seeds, one marker "
        f"per compression. {STRETCHED}"
    )
    yield Drawing("tradeoff", caption, figure)
