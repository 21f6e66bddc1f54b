"""Accuracy against testing time: what accuracy a budget of milliseconds buys."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_cost import draw_tradeoff
from orchestrator.figures.drawing import Drawing
from orchestrator.reading.lines import metric
from orchestrator.reading.results import Results


def draw(results: Results) -> Iterator[Drawing]:
    caption = "Test accuracy after the last epoch against the time of one forward pass of 64 inputs, compacted."
    time = metric("model/latency_ms")
    yield from draw_tradeoff(results, "tradeoff-latency", time, "testing time (ms)", caption)
