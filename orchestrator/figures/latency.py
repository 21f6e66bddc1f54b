"""Testing time against compression: what pruning gains where nothing knows of masks."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_compression import draw_cost
from orchestrator.figures.drawing import Drawing
from orchestrator.reading.lines import metric
from orchestrator.reading.results import Results


def draw(results: Results) -> Iterator[Drawing]:
    caption = (
        "Testing time: the median of one forward pass of 64 inputs, after the channels that can no longer matter were "
        "removed. Zeros among the weights gain nothing by themselves; only whole channels do. Times of different "
        "machines, or of a busy one, do not compare."
    )
    yield from draw_cost(results, "latency", metric("model/latency_ms"), "testing time (ms)", caption, share=False)
