"""Where the weights are kept: the density of every layer, at every compression."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.drawing import Drawing
from orchestrator.figures.layers import Quantity, draw_layers
from orchestrator.reading.results import Results

DENSITY = Quantity(
    name="density",
    column="density",
    scale=100,
    axis="weights kept (%)",
    caption=(
        "the share of weights kept in each layer, from {ends}, for the first finished seed. "
        "Layers above the dotted line were spared, those below it paid for them."
    ),
)


def draw(results: Results) -> Iterator[Drawing]:
    yield from draw_layers(results, DENSITY)
