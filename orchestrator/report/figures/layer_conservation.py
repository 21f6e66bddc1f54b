"""Average score of each layer against its inverse size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from statistics import fmean

from matplotlib.axes import Axes

from orchestrator.colors import GREY, look
from orchestrator.report.figures.finding import Finding, in_words, mean_and_deviation, metric_values
from orchestrator.report.figures.style import Drawing, file_name, label, panel_grid
from orchestrator.report.figures.unit_conservation import ERROR, EXACT
from orchestrator.report.measured import Measured, seeds_by_pruner, tables_by_panel
from orchestrator.results.results import Results

MEASURE = "layer-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per panel, with an axis for each pruner, of the first seed."""
    for facet, found in tables_by_panel(results, MEASURE).items():
        pruners = {pruner: some[0] for pruner, some in seeds_by_pruner(found).items()}
        figure, axes = panel_grid(len(pruners), sharey=False)
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
            "Along the dashed line, all layers have the same total, so a global threshold prunes the largest first."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)


def inverse_axes(axis: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Make both axes logarithmic, and draw the line of equal totals through the middle of the points."""
    shown = [(a, b) for a, b in zip(x, y, strict=True) if b > 0]
    axis.set_xscale("log")
    axis.set_yscale("log")
    if shown:
        total = exp(fmean(log(b / a) for a, b in shown))
        ends = [0.5 * min(x), 2 * max(x)]
        axis.plot(ends, [total * end for end in ends], color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
        axis.set_xlim(*ends)
        axis.set_ylim(0.4 * min(b for _, b in shown), 2.5 * max(b for _, b in shown))


SLOPE, CORRELATION = "conservation/slope", "conservation/correlation"


def sentences(found: list[Measured]) -> list[str]:
    """Return which pruners have one total in all layers, and how the other averages depend on size."""
    pruners = seeds_by_pruner(found)
    kept = [pruner for pruner, some in pruners.items() if max(metric_values(some, ERROR)) < EXACT]
    said = [f"All layers have the same total score for {in_words(kept)}."] if kept else []
    slopes = [
        f"{mean_and_deviation(metric_values(some, SLOPE))} for {pruner} "
        f"(correlation {mean_and_deviation(metric_values(some, CORRELATION))})"
        for pruner, some in pruners.items()
        if metric_values(some, SLOPE)
    ]
    if slopes:
        said.append(f"The average score of a layer follows its inverse size to the power of {', '.join(slopes)}.")
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    """Return a table row per pruner."""
    return [
        [
            pruner,
            f"{max(metric_values(some, ERROR)):.2g}",
            mean_and_deviation(metric_values(some, SLOPE), 3),
            mean_and_deviation(metric_values(some, CORRELATION), 3),
            str(len(some)),
        ]
        for pruner, some in seeds_by_pruner(found).items()
    ]


LAYER_CONSERVATION = Finding(
    title="Average score of layers against their inverse size, both logarithmic: 1 where the total is conserved",
    heads=("pruner", "difference of totals", "slope", "correlation", "seeds"),
    rows=rows,
    sentences=sentences,
)
