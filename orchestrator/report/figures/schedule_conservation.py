"""The largest cut of an iteration against the number of iterations, for each schedule."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
from matplotlib.colors import LogNorm

from orchestrator.comparing.measured import measured
from orchestrator.figures.drawing import Drawing, file_name, label, legend, panels
from orchestrator.findings.schedule_conservation import curves
from orchestrator.reading.results import Results

MEASURE = "schedule-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """One figure per panel, with an axis for each pruner and schedule, and a line for each compression."""
    shades = matplotlib.colormaps["viridis_r"]
    for facet, found in measured(results, MEASURE).items():
        lines = curves(found)
        compressions = sorted({compression for line in lines.values() for compression in line})
        scale = LogNorm(compressions[0] / 2, compressions[-1])
        figure, axes = panels(len(lines), sharey=True)
        marks = []
        for axis, ((pruner, schedule), by_compression) in zip(axes, lines.items(), strict=True):
            for compression, line in by_compression.items():
                color = shades(scale(compression))
                marks += axis.plot(list(line), list(line.values()), color=color, marker=".", label=f"{compression:g}x")
            axis.axhline(1, color="black", linestyle=(0, (4, 2)), linewidth=0.9)
            axis.set_title(f"{pruner}, {schedule}")
        label(axes, "pruning iterations", "largest cut / flow")
        legend(figure, marks, title=facet.title)
        caption = (
            f"{facet.title}: the largest score that any iteration prunes, over the flow through the whole network, "
            "against the number of iterations. Below the dashed line no iteration can cut all paths: no layer is lost."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)
