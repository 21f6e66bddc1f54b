"""The figures of a report. A figure is one file with one function, and one line here."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures import accuracy, density, histograms, macs, tradeoff
from orchestrator.figures.drawing import Drawing, house_style
from orchestrator.results import Results

FIGURES = {
    "accuracy": accuracy.draw,
    "tradeoff": tradeoff.draw,
    "macs": macs.draw,
    "density": density.draw,
    "histograms": histograms.draw,
}


def draw(results: Results) -> Iterator[Drawing]:
    """All drawings, in the order of reading. Those for which nothing was logged are left out."""
    with house_style():
        for figure in FIGURES.values():
            yield from figure(results)


__all__ = ["FIGURES", "Drawing", "draw"]
