"""Parameters kept against compression: how much of the network is prunable weights, and what is left of all of it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_compression import draw_cost
from orchestrator.figures.drawing import Drawing
from orchestrator.reading.lines import percent
from orchestrator.reading.results import Results

PERCENT_KEPT = percent("model/params_kept", "model/params")


def draw(results: Results) -> Iterator[Drawing]:
    caption = (
        "Parameters that remain after pruning: the weights that were kept, and the biases and normalisation that no "
        "pruner touches, which keep the line above the dotted one."
    )
    yield from draw_cost(results, "params", PERCENT_KEPT, "parameters kept (% of dense)", caption, share=True)
