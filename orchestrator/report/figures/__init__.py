"""The figures of a report. A figure is one file with one function, and two lines here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from orchestrator.comparing.measured import trained
from orchestrator.figures import (
    ablation,
    accuracy,
    collapse,
    costs,
    critical_compression,
    density,
    histograms,
    imp_conservation,
    latency,
    layer_conservation,
    layer_macs,
    macs,
    params,
    schedule_conservation,
    scores,
    search_history,
    search_importance,
    search_pareto,
    setting,
    tradeoff,
    tradeoff_latency,
    training,
    unit_conservation,
)
from orchestrator.figures.drawing import Drawing, apology, house_style
from orchestrator.reading.results import Results

logger = logging.getLogger(__name__)

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
MEASURED = {  # of trials that do not train, or not for their accuracy
    "critical-compression": critical_compression.draw,
    "unit-conservation": unit_conservation.draw,
    "layer-conservation": layer_conservation.draw,
    "imp-conservation": imp_conservation.draw,
    "schedule-conservation": schedule_conservation.draw,
}


def draw(results: Results) -> Iterator[Drawing]:
    """All drawings, in the order of reading, each with a name of its own. What was not logged has none.

    In the place of one that raised stands a drawing that says so.
    """
    named: Counter[str] = Counter()
    with house_style():
        trainings = trained(results)
        for name, figure in (FIGURES | MEASURED).items():
            try:
                for drawing in figure(trainings if name in FIGURES else results):
                    named[drawing.name.lower()] += 1  # some file systems know no capitals
                    number = named[drawing.name.lower()]
                    yield drawing if number == 1 else replace(drawing, name=f"{drawing.name}-{number}")
            except Exception as error:  # one figure must not cost the report; the page shows that it is missing
                logger.exception("the figure %s could not be drawn", name)
                yield apology(name, error)


__all__ = ["FIGURES", "MEASURED", "Drawing", "draw"]
