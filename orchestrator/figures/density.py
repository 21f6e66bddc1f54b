"""Where the weights are kept: the density of every layer, at every compression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.colors import GREY, look
from orchestrator.figures.drawing import Drawing, label, layer_name, legend, log_percent, panels, pruner_handles, slug
from orchestrator.lines import Facet, compressions, facet_of, facets, pruners
from orchestrator.results import Results, Row

EMPTY = Line2D([], [], color="#444444", linestyle="", marker="o", markerfacecolor="white", label="empty layer")


def draw(results: Results) -> Iterator[Drawing]:
    """One figure per facet, one panel per compression."""
    for facet in facets(results):
        pruned = [c for c in compressions(results, facet) if c > 1]
        layers = {
            (c, pruner): table
            for c in pruned
            for pruner in pruners(results)
            if (row := first_seed(results, facet, pruner, c)) and (table := _densities(results, row))
        }
        if layers:
            yield _figure(results, facet, pruned, layers)


def first_seed(results: Results, facet: Facet, pruner: str, compression: float) -> Row | None:
    """The finished run of the lowest seed. Layers are shown for one run: their mean over seeds is nobody's network."""
    rows = [
        row
        for row in results.rows
        if row.status == "finished"
        and (row.cell.pruner, row.cell.compression) == (pruner, compression)
        and facet_of(row) == facet
    ]
    return min(rows, key=lambda row: row.cell.seed, default=None)


def _densities(results: Results, row: Row) -> dict[str, float]:
    table: Any = results.details.artifact(row.run_id, "layers.json")
    if not table:
        return {}
    name, density = (table["columns"].index(column) for column in ("layer", "density"))
    return {entry[name]: entry[density] for entry in table["data"]}


def _figure(
    results: Results, facet: Facet, pruned: list[float], layers: dict[tuple[float, str], dict[str, float]]
) -> Drawing:
    names = [layer_name(name) for name in next(iter(layers.values()))]
    lowest = min((d for table in layers.values() for d in table.values() if d > 0), default=0.01)
    figure, axes = panels(len(pruned), sharey=True)
    marks: list[Artist] = []
    for axis, compression in zip(axes, pruned, strict=True):
        axis.set_yscale("log")
        axis.set_ylim(40 * lowest, 130)
        log_percent(axis.yaxis)
        marks.append(axis.axhline(100 / compression, color=GREY, linestyle=":", linewidth=0.9, label="1/compression"))
        for pruner in pruners(results):
            if table := layers.get((compression, pruner)):
                marks += _profile(axis, pruner, table, floor=50 * lowest)
        axis.set_xlim(0.5, len(names) + 0.5)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_title(f"{compression:g}x")
    label(axes, "layer", "weights kept (%)")
    legend(figure, [*pruner_handles(pruners(results)), *marks], title=facet.title)
    caption = (
        f"{facet.title}: the share of weights kept in each layer, from {names[0]} on the left to {names[-1]}, "
        "for the first finished seed. Layers above the dotted line were spared, those below it paid for them."
    )
    return Drawing(f"density-{slug(facet.title)}", caption, figure)


def _profile(axis: Axes, pruner: str, densities: dict[str, float], floor: float) -> Iterator[Line2D]:
    """One pruner's line, in percent; a layer without weights stands hollow on the floor."""
    style = look(pruner)
    values = [max(100 * density, floor) for density in densities.values()]
    axis.plot(range(1, len(values) + 1), values, markersize=2.6, linewidth=1.1, **style.line)
    for index, density in enumerate(densities.values(), 1):
        if density == 0:
            axis.plot(index, floor, "o", color=style.color, markerfacecolor="white", zorder=5)
            yield EMPTY
