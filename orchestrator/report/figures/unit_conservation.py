"""What flows out of each hidden unit against what flows in."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.colors import GREY, look
from orchestrator.comparing.measured import by_pruner, measured
from orchestrator.figures.drawing import Drawing, file_name, label, panels
from orchestrator.reading.results import Results

MEASURE = "unit-conservation"


def draw(results: Results) -> Iterator[Drawing]:
    """One figure per panel, with an axis for each pruner, of the first seed."""
    for facet, found in measured(results, MEASURE).items():
        pruners = {pruner: some[0] for pruner, some in by_pruner(found).items()}
        figure, axes = panels(len(pruners), sharey=False)
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
            "weights that lead into it, before anything is pruned. On the dashed line, what flows in flows out. Units "
            "that several layers write, as those of a residual stream, are left out."
        )
        yield Drawing(file_name(MEASURE, facet.title), caption, figure)
