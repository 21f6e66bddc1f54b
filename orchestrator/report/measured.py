"""Results of measures (experiments without training), separate from the results of trials that trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from orchestrator.results.lines import Facet, facet_of
from orchestrator.results.results import Results
from orchestrator.results.row import Row
from search_spaces import TRAINING, Trial

NOT_PANELS = ("measure", "schedule", "iterations")  # settings that vary within a measure's panel


@dataclass(frozen=True)
class Measured:
    """A finished trial of a measure; `columns` maps the columns of its table to their values, in the order of rows."""

    row: Row
    trial: Trial
    columns: Mapping[str, list[Any]]

    @property
    def pruner(self) -> str:
        """Return the label of the pruner."""
        return self.row.cell.pruner


@lru_cache(maxsize=4)
def without_measures(results: Results) -> Results:
    """Return the results without the rows of measures."""
    return _only(results, TRAINING)


def measures(results: Results) -> list[str]:
    """Return the names of the measures, in the order of the space."""
    names = dict.fromkeys(_measure(results, row) for row in results.rows)
    return [name for name in names if name != TRAINING]


@lru_cache(maxsize=4)
def tables_by_panel(results: Results, measure: str) -> dict[Facet, list[Measured]]:
    """Return the finished trials of a measure with their tables, by panel."""
    rows = [row for row in results.rows if row.status == "finished" and _measure(results, row) == measure]
    tables = results.details.artifacts([row.run_id for row in rows], "measure.json")
    found: dict[Facet, list[Measured]] = {}
    for row in rows:
        if table := tables[row.run_id]:
            columns = dict(zip(table["columns"], map(list, zip(*table["data"], strict=True)), strict=True))
            one = Measured(row, results.trials[row.cell.fingerprint], columns)
            found.setdefault(panel_of(row), []).append(one)
    return found


def panel_of(row: Row) -> Facet:
    """Return the panel in which a row of a measure is shown."""
    facet = facet_of(row)
    return replace(facet, settings=tuple((key, value) for key, value in facet.settings if key not in NOT_PANELS))


def seeds_by_pruner(found: list[Measured]) -> dict[str, list[Measured]]:
    """Return the seeds of each pruner, with pruners in the order of the space."""
    pruners: dict[str, list[Measured]] = {}
    for one in found:
        pruners.setdefault(one.pruner, []).append(one)
    return pruners


def _measure(results: Results, row: Row) -> str:
    trial = results.trials.get(row.cell.fingerprint)
    return trial.measure if trial else TRAINING


def _only(results: Results, measure: str) -> Results:
    if all(_measure(results, row) == measure for row in results.rows):
        return results
    return replace(results, rows=tuple(row for row in results.rows if _measure(results, row) == measure))
