"""Parameters kept against compression: how much of the network is prunable weights, and what is left of all of it."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_compression import draw_cost
from orchestrator.figures.drawing import Drawing
from orchestrator.lines import ratio
from orchestrator.results import Results
from orchestrator.row import Row

KEPT = ratio("model/params_kept", "model/params")


def percent_kept(row: Row) -> float | None:
    """The share of the dense network's parameters that remains, in percent."""
    value = KEPT(row)
    return 100 * value if value else None


def draw(results: Results) -> Iterator[Drawing]:
    caption = (
        "Parameters that remain after pruning: the weights that were kept, and the biases and normalisation that no "
        "pruner touches, which keep the line above the dotted one."
    )
    yield from draw_cost(results, "params", percent_kept, "parameters kept (% of dense)", caption, share=True)
