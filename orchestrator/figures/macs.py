"""MACs kept against compression: equal compression is not equal work."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_compression import draw_cost
from orchestrator.figures.drawing import Drawing
from orchestrator.lines import ratio
from orchestrator.results import Results
from orchestrator.row import Row

KEPT = ratio("model/macs_kept", "model/macs")


def percent_kept(row: Row) -> float | None:
    """The share of the dense network's multiply-accumulates that remains, in percent."""
    value = KEPT(row)
    # A network that collapsed altogether keeps none, which a logarithmic axis cannot show: no point there.
    return 100 * value if value else None


def draw(results: Results) -> Iterator[Drawing]:
    caption = (
        "Multiply-accumulates that remain after pruning, which the papers' tables call FLOPs. On the dotted line they "
        "fall as the weights do; above it a pruner takes its weights where they cost little."
    )
    yield from draw_cost(results, "macs", percent_kept, "MACs kept (% of dense)", caption, share=True)
