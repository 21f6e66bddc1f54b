"""The average score of each layer against its inverse size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from statistics import fmean

from matplotlib.axes import Axes

from orchestrator.colors import GREY, look
from orchestrator.comparing.measured import by_pruner, measured
from orchestrator.figures.drawing import Drawing, file_name, label, panels
from orchestrator.reading.results import Results

MEASURE = "layer-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """One figure per panel, with an axis for each pruner, of the first seed."""
    for facet, found in measured(results, MEASURE).items():
        pruners = {pruner: some[0] for pruner, some in by_pruner(found).items()}
        figure, axes = panels(len(pruners), sharey=False)
        for axis, (pruner, one) in zip(axes, pruners.items(), strict=True):
            x = [1 / weights for weights in one.columns["weights"]]
            y = one.columns["average"]
            style = look(pruner)
            axis.plot(x, y, color=style.color, linestyle="", marker=style.marker)
            inverse_axes(axis, x, y)
            axis.set_title(pruner, color=style.color)
        label(axes, "inverse layer size", "average score")
        figure.suptitle(facet.title, fontsize=9)
        caption = (
            f"{facet.title}: the average score of each layer against its inverse size, before anything is pruned. "
            "Along the dashed line, all layers have the same total, so that a global threshold takes the largest first."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)


def inverse_axes(axis: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Logarithmic axes, and the line of equal totals through the middle of the points."""
    shown = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    axis.set_xscale("log")
    axis.set_yscale("log")
    if shown:
        total = exp(fmean(log(b / a) for a, b in shown))
        ends = [0.5 * min(x), 2 * max(x)]
        axis.plot(ends, [total * end for end in ends], color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
        axis.set_xlim(*ends)
        axis.set_ylim(0.4 * min(b for _, b in shown), 2.5 * max(b for _, b in shown))
