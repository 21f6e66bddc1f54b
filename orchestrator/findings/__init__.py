"""What a report says of what was measured instead of training. A new one is a file, and two lines here."""

from __future__ import annotations

from orchestrator.comparing.measured import measured, measures
from orchestrator.findings.critical_compression import CRITICAL_COMPRESSION
from orchestrator.findings.finding import Finding, Table
from orchestrator.findings.imp_conservation import IMP_CONSERVATION
from orchestrator.findings.layer_conservation import LAYER_CONSERVATION
from orchestrator.findings.schedule_conservation import SCHEDULE_CONSERVATION
from orchestrator.findings.unit_conservation import UNIT_CONSERVATION
from orchestrator.reading.results import Results

FINDINGS: dict[str, Finding] = {
    "critical-compression": CRITICAL_COMPRESSION,
    "unit-conservation": UNIT_CONSERVATION,
    "layer-conservation": LAYER_CONSERVATION,
    "imp-conservation": IMP_CONSERVATION,
    "schedule-conservation": SCHEDULE_CONSERVATION,
}


def sentences(results: Results) -> list[tuple[str, list[str]]]:
    """Per measure and panel: its title and what is said of it."""
    return [
        (facet.title, FINDINGS[measure].sentences(found))
        for measure in measures(results)
        for facet, found in measured(results, measure).items()
    ]


def tables(results: Results) -> list[tuple[str, str, Table]]:
    """Per measure that has results: its name, the table's title, and the table."""
    shown = []
    for measure in measures(results):
        finding = FINDINGS[measure]
        panels = measured(results, measure).items()
        rows = [[facet.title, *row] for facet, found in panels for row in finding.rows(found)]
        if rows:
            shown.append((measure, finding.title, [["panel", *finding.heads], *rows]))
    return shown


__all__ = ["FINDINGS", "Finding", "Table", "sentences", "tables"]
