"""Total score out of each hidden unit against the total score into it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from orchestrator.colors import GREY, look
from orchestrator.report.figures.finding import Finding, in_words, metric_values
from orchestrator.report.figures.style import Drawing, file_name, label, panel_grid
from orchestrator.report.measured import Measured, seeds_by_pruner, tables_by_panel
from orchestrator.results.results import Results

MEASURE = "unit-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per panel, with an axis for each pruner, of the first seed."""
    for facet, found in tables_by_panel(results, MEASURE).items():
        pruners = {pruner: some[0] for pruner, some in seeds_by_pruner(found).items()}
        figure, axes = panel_grid(len(pruners), sharey=False)
        for axis, (pruner, one) in zip(axes, pruners.items(), strict=True):
            come, gone = one.columns["score_in"], one.columns["score_out"]
            ends = [min(*come, *gone), max(*come, *gone)]
            axis.plot(ends, ends, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1)
            axis.plot(come, gone, color=look(pruner).color, linestyle="", marker="o", markersize=3, alpha=0.25,
                      markeredgewidth=0, rasterized=True)  # fmt: skip
            axis.set_aspect("equal", adjustable="datalim")
            axis.locator_params(nbins=4)
            axis.ticklabel_format(scilimits=(-2, 3))
            axis.set_title(pruner, color=look(pruner).color)
        label(axes, "total score in", "total score out")
        figure.suptitle(facet.title, fontsize=9)
        caption = (
            f"{facet.title}: the total score of the weights that lead out of each hidden unit against that of the "
            "weights that lead into it, before anything is pruned. On the dashed line, the two are equal. Units that "
            "several layers compute, such as those of a residual stream, are left out."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)


EXACT = 1e-6  # a relative difference that small is rounding
ERROR, MEDIAN = "conservation/error", "conservation/median_error"


def sentences(found: list[Measured]) -> list[str]:
    """Return which pruners conserve the score of units, and how large the errors of the others are."""
    pruners = seeds_by_pruner(found)
    kept = [pruner for pruner, some in pruners.items() if max(metric_values(some, ERROR)) < EXACT]
    said = []
    if kept:
        most = max(error for pruner in kept for error in metric_values(pruners[pruner], ERROR))
        said.append(f"The scores into and out of every hidden unit are equal for {in_words(kept)}, to {most:.0e}.")
    lost = [
        f"{pruner} ({fmean(metric_values(some, MEDIAN)):.1%} at the median unit, "
        f"{max(metric_values(some, ERROR)):.0%} at the worst)"
        for pruner, some in pruners.items()
        if pruner not in kept
    ]
    return [*said, *([f"Score into and out of hidden units differs for {in_words(lost)}."] if lost else [])]


def rows(found: list[Measured]) -> list[list[str]]:
    """Return a table row per pruner."""
    return [
        [
            pruner,
            str(len(some[0].columns["unit"])),
            f"{fmean(metric_values(some, MEDIAN)):.2g}",
            f"{max(metric_values(some, ERROR)):.2g}",
            str(len(some)),
        ]
        for pruner, some in seeds_by_pruner(found).items()
    ]


UNIT_CONSERVATION = Finding(
    title="Score into and out of hidden units: their difference as a share of the larger",
    heads=("pruner", "hidden units", "median error", "largest error", "seeds"),
    rows=rows,
    sentences=sentences,
)
