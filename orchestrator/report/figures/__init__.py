"""Figures of a report. Each figure is one file with one function, and two lines here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from orchestrator.report.figures import (
    ablation,
    accuracy,
    against_compression,
    against_cost,
    collapse,
    costs,
    critical_compression,
    histograms,
    hyperparameter,
    imp_conservation,
    layer_conservation,
    layers,
    learning_curves,
    schedule_conservation,
    scores,
    search_history,
    search_importance,
    search_pareto,
    unit_conservation,
)
from orchestrator.report.figures.critical_compression import CRITICAL_COMPRESSION
from orchestrator.report.figures.finding import Finding, Table
from orchestrator.report.figures.imp_conservation import IMP_CONSERVATION
from orchestrator.report.figures.layer_conservation import LAYER_CONSERVATION
from orchestrator.report.figures.schedule_conservation import SCHEDULE_CONSERVATION
from orchestrator.report.figures.style import Drawing, apology, house_style
from orchestrator.report.figures.unit_conservation import UNIT_CONSERVATION
from orchestrator.report.measured import measures, tables_by_panel, without_measures
from orchestrator.results.results import Results

logger = logging.getLogger(__name__)

FIGURES = {
    "accuracy": accuracy.draw,
    "collapse": collapse.draw,
    "ablation": ablation.draw,
    "setting": hyperparameter.draw,
    "tradeoff": against_cost.draw_tradeoff,
    "tradeoff-speedup": against_cost.draw_tradeoff_speedup,
    "tradeoff-training": against_cost.draw_tradeoff_training,
    "macs": against_compression.draw_macs,
    "params": against_compression.draw_params,
    "speedup": against_compression.draw_speedup,
    "costs": costs.draw,
    "density": layers.draw_density,
    "layer-macs": layers.draw_layer_macs,
    "training": learning_curves.draw,
    "scores": scores.draw,
    "histograms": histograms.draw,
    "search-history": search_history.draw,
    "search-pareto": search_pareto.draw,
    "search-importance": search_importance.draw,
}
MEASURED = {  # figures of measures, which do not train or are not about accuracy
    "critical-compression": critical_compression.draw,
    "unit-conservation": unit_conservation.draw,
    "layer-conservation": layer_conservation.draw,
    "imp-conservation": imp_conservation.draw,
    "schedule-conservation": schedule_conservation.draw,
}


FINDINGS: dict[str, Finding] = {
    "critical-compression": CRITICAL_COMPRESSION,
    "unit-conservation": UNIT_CONSERVATION,
    "layer-conservation": LAYER_CONSERVATION,
    "imp-conservation": IMP_CONSERVATION,
    "schedule-conservation": SCHEDULE_CONSERVATION,
}


def draw(results: Results) -> Iterator[Drawing]:
    """Yield all drawings in reading order, each with a unique name; a figure without logged data is left out.

    A figure that raises is replaced by a drawing that says so.
    """
    named: Counter[str] = Counter()
    with house_style():
        trainings = without_measures(results)
        for name, figure in (FIGURES | MEASURED).items():
            try:
                for drawing in figure(trainings if name in FIGURES else results):
                    named[drawing.name.lower()] += 1  # some file systems ignore case
                    number = named[drawing.name.lower()]
                    yield drawing if number == 1 else replace(drawing, name=f"{drawing.name}-{number}")
            except Exception as error:  # one figure must not stop the report; the page shows that it is missing
                logger.exception("the figure %s could not be drawn", name)
                yield apology(name, error)


def finding_sentences(results: Results) -> list[tuple[str, list[str]]]:
    """Return the title and the sentences of each measure's panels."""
    return [
        (facet.title, FINDINGS[measure].sentences(found))
        for measure in measures(results)
        for facet, found in tables_by_panel(results, measure).items()
    ]


def finding_tables(results: Results) -> list[tuple[str, str, Table]]:
    """Return the name, the table's title and the table of each measure that has results."""
    shown = []
    for measure in measures(results):
        finding = FINDINGS[measure]
        panels = tables_by_panel(results, measure).items()
        rows = [[facet.title, *row] for facet, found in panels for row in finding.rows(found)]
        if rows:
            shown.append((measure, finding.title, [["panel", *finding.heads], *rows]))
    return shown


__all__ = [
    "FIGURES",
    "FINDINGS",
    "MEASURED",
    "Drawing",
    "Finding",
    "Table",
    "draw",
    "finding_sentences",
    "finding_tables",
]
