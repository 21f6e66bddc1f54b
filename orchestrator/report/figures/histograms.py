"""Histograms of the kept weights after training, which show how each pruner's choice shapes a layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.colors import look
from orchestrator.report.figures.finding import layer_name
from orchestrator.report.figures.layers import first_seed
from orchestrator.report.figures.style import Drawing, evenly_spaced, file_name, legend
from orchestrator.results.lines import Facet, facets, pruned, pruners
from orchestrator.results.results import Results

Histogram = Mapping[str, Any]  # {"layer", "edges", "counts"}
LAYERS, COMPRESSIONS = 5, 3  # the most that fit the width of a page, and that can be told apart in one panel


def draw(results: Results) -> Iterator[Drawing]:
    """Yield one figure per facet: a row per pruner, a column per layer, a few compressions overlaid."""
    for facet in facets(results):
        chosen = evenly_spaced(pruned(results, facet), COMPRESSIONS)
        found = {
            (pruner, c): {entry["layer"]: entry for entry in file["layers"]}
            for pruner in pruners(results)
            for c in [1.0, *chosen]
            if (row := first_seed(results, facet, pruner, c))
            and (file := results.details.artifact(row.run_id, "histograms.json"))
        }
        if any(c > 1 for _, c in found):
            yield _figure(results, facet, chosen, found)


def _figure(
    results: Results,
    facet: Facet,
    chosen: Sequence[float],
    found: Mapping[tuple[str, float], Mapping[str, Histogram]],
) -> Drawing:
    rows = [pruner for pruner in pruners(results) if any((pruner, c) in found for c in chosen)]
    every = list(next(iter(found.values())))
    layers = evenly_spaced(every, LAYERS)
    figure = Figure(figsize=(6.9, 0.75 * len(rows) + 0.95), layout="constrained")
    grid = figure.subplots(len(rows), len(layers), sharex="col", squeeze=False)
    shades = matplotlib.colormaps["viridis"]
    colors: list[Any] = [shades(0.85 - 0.75 * i / max(1, len(chosen) - 1)) for i in range(len(chosen))]
    for pruner, line in zip(rows, grid, strict=True):
        for layer, axis in zip(layers, line, strict=True):
            for compression, color in [(1.0, "#c4c4c4"), *zip(chosen, colors, strict=True)]:
                if entry := found.get((pruner, compression), {}).get(layer):
                    _outline(axis, entry, color, filled=compression == 1)
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            axis.set_ylim(0, 1.08)
            axis.grid(visible=False)
        line[0].set_ylabel(pruner, color=look(pruner).color, rotation=0, ha="right", va="center")
    for column, layer in enumerate(layers):
        grid[0, column].set_title(layer_name(layer, every.index(layer) + 1), fontsize=7)
        reach = max(_reach(entry[layer]) for entry in found.values() if layer in entry) or 1.0
        grid[0, column].set_xlim(-reach, reach)
        grid[0, column].locator_params(axis="x", nbins=3)
    figure.supxlabel("weight", fontsize=8)
    entries = [("dense", "#c4c4c4"), *((f"{c:g}x", color) for c, color in zip(chosen, colors, strict=True))]
    legend(figure, [Line2D([], [], color=color, linewidth=1.6, label=name) for name, color in entries], facet.title)
    caption = (
        f"{facet.title}: the weights that were kept, after training, for the first finished seed; each outline is "
        f"scaled to its own peak. Layers {'' if layers == every else f'(some of {len(every)}) '}count from the input."
    )
    return Drawing(file_name("histograms", facet.title), caption, figure)


def _outline(axis: Axes, entry: Histogram, color: Any, filled: bool) -> None:
    counts, edges = np.array(entry["counts"]), np.array(entry["edges"])
    if not counts.sum():  # an empty layer has nothing to draw
        return
    # Neighbouring bins are merged until there are about as many as the weights support (Rice's rule).
    starts = np.arange(0, len(counts), ceil(len(counts) / (2 * np.cbrt(counts.sum()))))
    edges = np.append(edges[starts], edges[-1])
    heights = np.add.reduceat(counts, starts) / np.diff(edges)
    axis.stairs(heights / heights.max(), edges, color=color, fill=filled, linewidth=0.9)


def _reach(entry: Histogram) -> float:
    """Return half the width that holds 99 % of the weights: a few outliers must not flatten all others."""
    counts, edges = entry["counts"], entry["edges"]
    centers = [(a + b) / 2 for a, b in pairwise(edges)]
    left, total = sum(counts), sum(counts)
    for size, count in sorted(((abs(c), n) for c, n in zip(centers, counts, strict=True)), reverse=True):
        left -= count
        if left < 0.99 * total:
            return float(size)
    return 0.0
