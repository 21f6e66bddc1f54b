"""MACs kept against compression: equal compression is not equal work."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_compression import draw_cost
from orchestrator.figures.drawing import Drawing
from orchestrator.reading.lines import percent
from orchestrator.reading.results import Results

PERCENT_KEPT = percent("model/macs_kept", "model/macs")


def draw(results: Results) -> Iterator[Drawing]:
    caption = (
        "Multiply-accumulates that remain after pruning, which the papers' tables call FLOPs. On the dotted line they "
        "fall as the weights do; above it a pruner takes its weights where they cost little."
    )
    yield from draw_cost(results, "macs", PERCENT_KEPT, "MACs kept (% of dense)", caption, share=True)
