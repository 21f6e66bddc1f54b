"""Where the work remains: the multiply-accumulates of every layer, at every compression."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.drawing import Drawing
from orchestrator.figures.layers import Quantity, draw_layers
from orchestrator.reading.results import Results

MACS = Quantity(
    name="layer-macs",
    column="macs_kept",
    whole="macs",
    scale=1,
    axis="MACs kept",
    caption=(
        "multiply-accumulates that remain in each layer for one input, from {ends}, for the "
        "first finished seed. On the dotted line each layer would keep the same share: what lies above it is paid "
        "for in time."
    ),
)


def draw(results: Results) -> Iterator[Drawing]:
    yield from draw_layers(results, MACS)
