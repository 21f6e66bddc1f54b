"""Accuracy against MACs kept: what accuracy a budget of work buys."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures.against_cost import draw_tradeoff
from orchestrator.figures.drawing import Drawing
from orchestrator.figures.macs import PERCENT_KEPT
from orchestrator.reading.results import Results


def draw(results: Results) -> Iterator[Drawing]:
    caption = "Test accuracy after the last epoch against the multiply-accumulates that remain."
    yield from draw_tradeoff(results, "tradeoff", PERCENT_KEPT, "MACs kept (% of dense)", caption)
