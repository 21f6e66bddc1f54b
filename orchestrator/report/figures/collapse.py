"""Map of layer collapse: which pruner leaves no path of weights from input to output, at which compression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from orchestrator.report.figures.against_compression import HOLE
from orchestrator.report.figures.style import Drawing, legend
from orchestrator.results.lines import Facet, compressions, facets, pruners, rows_at
from orchestrator.results.results import Results

COLUMNS = 2
NONE, BORDER = "#f2f2f2", "white"
SHADES = matplotlib.colormaps["OrRd"]


def draw(results: Results) -> Iterator[Drawing]:
    """Yield a map per facet; none if no run has collapsed, because a sentence says that better."""
    shown = [facet for facet in facets(results) if _pruned(results, facet)]
    if not any(row.collapsed for row in results.rows):
        return
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    names = pruners(results)
    widest = max(len(_pruned(results, facet)) for facet in shown)
    width = min(6.9, columns * (1.1 + 0.36 * widest))
    figure = Figure(figsize=(max(3.4, width), lines * (0.55 + 0.17 * len(names)) + 0.4), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
    for axis in axes[len(shown) :]:
        axis.remove()
    holes = [_map(axis, results, facet) for axis, facet in zip(axes, shown, strict=False)]
    keys = [
        Patch(color=_shade(share), label=text) for share, text in ((0, "no run collapsed"), (0.5, "half"), (1, "all"))
    ]
    legend(figure, [*keys, *([HOLE] if any(holes) else [])])
    caption = (
        "Collapse: how many of a cell's finished runs have no path of kept weights from input to output. A network may "
        "collapse without an empty layer, where the kept weights of neighbouring layers do not connect; and with a "
        "shortcut around it, an empty layer need not collapse it. The section on masks shows where each network is cut."
    )
    yield Drawing("collapse", caption, figure)


def _pruned(results: Results, facet: Facet) -> list[float]:
    return [c for c in compressions(results, facet) if c > 1]


def _shade(share: float) -> Any:
    return SHADES(0.25 + 0.6 * share) if share else NONE


def _map(axis: Axes, results: Results, facet: Facet) -> bool:
    """Draw one facet's map; return True if some cell of it has no result at all."""
    hole = False
    names, columns = pruners(results), _pruned(results, facet)
    for y, pruner in enumerate(names):
        for x, compression in enumerate(columns):
            rows = rows_at(results, facet, pruner, compression)
            finished = [row for row in rows if row.status == "finished"]
            if not rows:
                continue  # no sweep asked for it
            if not finished:
                hole = True
                axis.plot(x, y, color="#444444", marker="x", markersize=4)
                continue
            collapsed = sum(row.collapsed for row in finished)
            share = collapsed / len(finished)
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_shade(share), edgecolor=BORDER, linewidth=1))
            if collapsed:
                text = f"{collapsed}/{len(finished)}"
                axis.text(x, y, text, ha="center", va="center", fontsize=6, color="white" if share > 0.6 else "black")
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(names) - 0.5, -0.5), title=facet.title)
    axis.set_xticks(range(len(columns)), [f"{c:g}x" for c in columns], rotation=45 if len(columns) > 8 else 0)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)
    return hole
