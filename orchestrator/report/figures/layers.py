"""Values of the layers, from the first to the last: a line per pruner, a panel per compression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from orchestrator.colors import GREY, look
from orchestrator.report.figures.finding import layer_name
from orchestrator.report.figures.style import (
    Drawing,
    evenly_spaced,
    file_name,
    label,
    layer_ticks,
    legend,
    log_ticks,
    panel_grid,
    pruner_handles,
)
from orchestrator.results.lines import Facet, facets, pruned, pruners, rows_at
from orchestrator.results.results import Results
from orchestrator.results.row import Row

TICKS = 8  # most layers that are named below a panel
PANELS = 6  # most compressions in a figure, evenly chosen if there are more
EMPTY = Line2D([], [], color="#444444", linestyle="", marker="o", markerfacecolor="white", label="empty layer")
LayerValues = Mapping[str, float]  # by layer, in the model's order


@dataclass(frozen=True)
class LayerColumn:
    """A column of `layers.json` to draw, with its unit and the dense network's column."""

    name: str
    column: str
    scale: float
    axis: str
    caption: str
    whole: str = ""  # the dense network's column; empty if its value is the same in all layers


def draw_layers(results: Results, quantity: LayerColumn) -> Iterator[Drawing]:
    """Yield one figure per facet whose runs have layers."""
    for facet in facets(results):
        chosen = evenly_spaced(pruned(results, facet), PANELS)
        shown = {
            (c, pruner): row
            for c in chosen
            for pruner in pruners(results)
            if (row := first_seed(results, facet, pruner, c))
        }
        tables = results.details.artifacts([row.run_id for row in shown.values()], "layers.json")
        read = {place: table for place, row in shown.items() if (table := tables[row.run_id])}
        found = {place: table for place, table in read.items() if column(table, quantity.column)}
        if found:
            yield _figure(results, facet, chosen, found, quantity)


def first_seed(results: Results, facet: Facet, pruner: str, compression: float) -> Row | None:
    """Return the finished run of the lowest seed; a mean over seeds would show layers of no real network."""
    rows = [row for row in rows_at(results, facet, pruner, compression) if row.status == "finished"]
    return min(rows, key=lambda row: row.cell.seed, default=None)


def column(table: Mapping[str, Any], name: str, scale: float = 1) -> dict[str, float]:
    """Return the layers' values in a table of `layers.json`, without unknown ones and products without weights."""
    layer, index, params = (table["columns"].index(key) for key in ("layer", name, "params"))
    return {entry[layer]: scale * entry[index] for entry in table["data"] if entry[params] and entry[index] is not None}


def _figure(
    results: Results,
    facet: Facet,
    chosen: Sequence[float],
    tables: Mapping[tuple[float, str], Mapping[str, Any]],
    quantity: LayerColumn,
) -> Drawing:
    lines = {place: column(table, quantity.column, quantity.scale) for place, table in tables.items()}
    some = next(iter(tables.values()))
    names = list(column(some, "params"))
    dense = column(some, quantity.whole, quantity.scale) if quantity.whole else dict.fromkeys(names, quantity.scale)
    lowest = min((value for values in lines.values() for value in values.values() if value > 0), default=0.01)
    figure, axes = panel_grid(len(chosen), sharey=True)
    marks: list[Artist] = []
    for axis, compression in zip(axes, chosen, strict=True):
        axis.set_yscale("log")
        axis.set_ylim(0.4 * lowest, 1.3 * max(dense.values()))
        log_ticks(axis.yaxis)
        uniform = [value / compression for value in dense.values()]
        marks += axis.plot(range(1, len(names) + 1), uniform, color=GREY, linestyle=":", linewidth=0.9,
                           label="same share in every layer")  # fmt: skip
        for pruner in pruners(results):
            if values := lines.get((compression, pruner)):
                marks += _profile(axis, pruner, values, floor=0.5 * lowest)
        axis.set_xlim(0.5, len(names) + 0.5)
        layer_ticks(axis.xaxis, [layer_name(name, place) for place, name in enumerate(names, 1)], TICKS)
        axis.set_title(f"{compression:g}x")
    label(axes, "", quantity.axis)
    drawn = [pruner for pruner in pruners(results) if any(pruner == other for _, other in lines)]
    legend(figure, [*pruner_handles(drawn), *marks], title=facet.title)
    ends = f"layer 1 ({names[0]}) to layer {len(names)} ({names[-1]})"
    caption = f"{facet.title}: {quantity.caption.format(ends=ends)}"
    return Drawing(file_name(quantity.name, facet.title), caption, figure)


def _profile(axis: Axes, pruner: str, values: LayerValues, floor: float) -> Iterator[Line2D]:
    """Draw one pruner's line, with a hollow mark at the bottom for a layer without weights; yield legend entries."""
    style = look(pruner)
    heights = [max(value, floor) for value in values.values()]
    axis.plot(range(1, len(heights) + 1), heights, markersize=2.6, linewidth=1.1, **style.line)
    for index, value in enumerate(values.values(), 1):
        if value == 0:
            axis.plot(index, floor, "o", color=style.color, markerfacecolor="white", zorder=5)
            yield EMPTY


DENSITY = LayerColumn(
    name="density",
    column="density",
    scale=100,
    axis="weights kept (%)",
    caption=(
        "the share of weights kept in each layer, from {ends}, for the first finished seed. "
        "Layers above the dotted line were pruned less than average, those below it more."
    ),
)


def draw_density(results: Results) -> Iterator[Drawing]:
    """Draw where weights are kept: the density of every layer, at every compression."""
    yield from draw_layers(results, DENSITY)


MACS = LayerColumn(
    name="layer-macs",
    column="macs_kept",
    whole="macs",
    scale=1,
    axis="MACs kept",
    caption=(
        "multiply-accumulates that remain in each layer for one input, from {ends}, for the "
        "first finished seed. On the dotted line each layer would keep the same share of its MACs; layers above it "
        "keep more."
    ),
)


def draw_layer_macs(results: Results) -> Iterator[Drawing]:
    """Draw where work remains: the multiply-accumulates of every layer, at every compression."""
    yield from draw_layers(results, MACS)
