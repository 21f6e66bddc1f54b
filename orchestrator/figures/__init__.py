"""The figures of a report. A figure is one file with one function, and one line here."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.figures import (
    ablation,
    accuracy,
    collapse,
    costs,
    density,
    histograms,
    latency,
    layer_macs,
    macs,
    params,
    scores,
    search_history,
    search_importance,
    search_pareto,
    setting,
    tradeoff,
    tradeoff_latency,
    training,
)
from orchestrator.figures.drawing import Drawing, house_style
from orchestrator.results import Results

FIGURES = {
    "accuracy": accuracy.draw,
    "collapse": collapse.draw,
    "ablation": ablation.draw,
    "setting": setting.draw,
    "tradeoff": tradeoff.draw,
    "tradeoff-latency": tradeoff_latency.draw,
    "macs": macs.draw,
    "params": params.draw,
    "latency": latency.draw,
    "costs": costs.draw,
    "density": density.draw,
    "layer-macs": layer_macs.draw,
    "training": training.draw,
    "scores": scores.draw,
    "histograms": histograms.draw,
    "search-history": search_history.draw,
    "search-pareto": search_pareto.draw,
    "search-importance": search_importance.draw,
}


def draw(results: Results) -> Iterator[Drawing]:
    """All drawings, in the order of reading. Those for which nothing was logged are left out."""
    with house_style():
        for figure in FIGURES.values():
            yield from figure(results)


__all__ = ["FIGURES", "Drawing", "draw"]
