"""Distribution of a pruner's scores in each layer: layers with low scores throughout are the first to be empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from orchestrator.colors import look
from orchestrator.report.figures.finding import layer_name
from orchestrator.report.figures.layers import TICKS, first_seed
from orchestrator.report.figures.style import Drawing, file_name, label, layer_ticks, panel_grid, power_ticks
from orchestrator.results.lines import Facet, facets, pruned, pruners
from orchestrator.results.results import Results
from orchestrator.results.row import Row

ScoreHistograms = Sequence[Mapping[str, Any]]  # per layer {"layer", "edges", "counts", "zeros"}, edges in log10


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per facet, with one panel per pruner that computes scores."""
    for facet in facets(results):
        shown = {pruner: row for pruner in pruners(results) if (row := _least_pruned(results, facet, pruner))}
        files = results.details.artifacts([row.run_id for row in shown.values()], "scores.json")
        found = {pruner: file["layers"] for pruner, row in shown.items() if (file := files[row.run_id])}
        found = {pruner: layers for pruner, layers in found.items() if any(sum(layer["counts"]) for layer in layers)}
        if found:
            yield _figure(facet, found, {pruner: shown[pruner].cell.compression for pruner in found})


def _least_pruned(results: Results, facet: Facet, pruner: str) -> Row | None:
    rows = (first_seed(results, facet, pruner, c) for c in pruned(results, facet))
    return next((row for row in rows if row), None)


def _figure(facet: Facet, found: Mapping[str, ScoreHistograms], at: Mapping[str, float]) -> Drawing:
    figure, axes = panel_grid(len(found), sharey=False)
    for axis, (pruner, layers) in zip(axes, found.items(), strict=True):
        _map(axis, pruner, layers)
        axis.set_title(f"{pruner} {at[pruner]:g}x", color=look(pruner).color)
    label(axes, "", "|score|")
    figure.suptitle(facet.title, fontsize=9)
    names = [layer["layer"] for layer in next(iter(found.values()))]
    caption = (
        f"{facet.title}: where the scores of each layer lie, from layer 1 ({names[0]}) to layer {len(names)} "
        f"({names[-1]}): the darker, the more of the layer's weights; the bar is their median. Scores of zero and of "
        "weights pruned in an earlier iteration are left out. First finished seed, lowest compression. Pruners differ "
        "in unit: compare layers, not panels."
    )
    return Drawing(file_name("scores", facet.title), caption, figure)


def _map(axis: Axes, pruner: str, layers: ScoreHistograms) -> None:
    """Draw a column per layer, shaded by the share of its weights in each bin."""
    shades = LinearSegmentedColormap.from_list(pruner, ["white", look(pruner).color])
    tall = [layer for layer in layers if sum(layer["counts"])]
    for x, layer in enumerate(layers, 1):
        counts, edges = np.array(layer["counts"], float), np.array(layer["edges"])
        if not counts.sum():
            continue
        axis.pcolormesh([x - 0.45, x + 0.45], edges, (counts / counts.max())[:, None], cmap=shades, rasterized=True)
        middle = np.interp(counts.sum() / 2, np.cumsum(counts), edges[1:])
        axis.plot([x - 0.45, x + 0.45], [middle] * 2, color="#333333", linewidth=0.9)
    axis.set_xlim(0.5, len(layers) + 0.5)
    # The longest tails, down to scores of 10^-20, would squeeze the rest into a stripe.
    axis.set_ylim(min(map(_low, tall)), max(layer["edges"][-1] for layer in tall))
    layer_ticks(axis.xaxis, [layer_name(layer["layer"], place) for place, layer in enumerate(layers, 1)], TICKS)
    power_ticks(axis.yaxis, axis.get_ylim())
    axis.grid(visible=False)


def _low(layer: Mapping[str, Any], tail: float = 0.02) -> float:
    """Return the edge of the bin below which the lowest `tail` of a layer's scores lie."""
    counts = np.array(layer["counts"], float)
    return float(layer["edges"][int(np.searchsorted(np.cumsum(counts), tail * counts.sum()))])
