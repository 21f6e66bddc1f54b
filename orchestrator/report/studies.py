"""Studies of a search, as read by a report: the trials of each, in which order, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from orchestrator.results.lines import facet_of
from orchestrator.results.objectives import Objective, Values, undominated
from orchestrator.results.results import Results
from orchestrator.results.row import Row
from search_spaces import Cell, amount


@dataclass(frozen=True, eq=False)  # compared by identity: derived values are cached in it
class Tuned:
    """One study: trials that were each chosen by the results of earlier ones."""

    name: str
    objectives: tuple[Objective, ...]
    record: Mapping[str, Any]  # settings of the search, from the plan
    rows: tuple[Row, ...]  # in the order in which they were requested

    @cached_property
    def values(self) -> dict[int, Values]:
        """Return, by number of the trial from 0, its value of each objective; only trials that have all values."""
        found = {}
        for number, row in enumerate(self.rows):
            own = [objective.of(row) for objective in self.objectives]
            if own and None not in own:
                found[number] = tuple(value for value in own if value is not None)
        return found

    @cached_property
    def best(self) -> list[int]:
        """Return the numbers of the best trials: the first best for one objective, the Pareto front for several."""
        numbers = list(self.values)
        front = [numbers[place] for place in undominated(list(self.values.values()), self.objectives)]
        return front if len(self.objectives) > 1 else front[:1]

    @cached_property
    def axes(self) -> list[str]:
        """Return the grid fields that the study chose between; none if each cell has a study of its own."""
        named = [_named(row.cell) for row in self.rows]
        keys = dict.fromkeys(key for cell in named for key in cell)
        return [key for key in keys if len({str(cell.get(key)) for cell in named}) > 1]

    def chosen(self, row: Row) -> dict[str, Any]:
        """Return all settings that the study chose for a trial."""
        named = _named(row.cell)
        return {key: named[key] for key in self.axes if key in named} | row.cell.searched


@dataclass(frozen=True)
class Group:
    """Studies shown in one panel: they differ only in the pruner."""

    subject: str  # dataset, architecture and settings; one figure each
    title: str  # of the panel
    studies: tuple[Tuned, ...]


@lru_cache(maxsize=4)
def tuned(results: Results) -> tuple[Tuned, ...]:
    """Return the studies in the order of the space; the objectives are those of the newest sweep with the study."""
    rows: dict[str, list[Row]] = {}
    for row in results.tried:
        rows.setdefault(row.cell.study, []).append(row)
    records: dict[str, Mapping[str, Any]] = {}
    for sweep in results.sweeps:  # newest first
        for name in {cell.study for cell in sweep.cells if cell.role == "search"}:
            records.setdefault(name, sweep.plan.get("search", {}))
    return tuple(
        Tuned(
            name, tuple(map(Objective, records.get(name, {}).get("objective", ()))), records.get(name, {}), tuple(own)
        )
        for name, own in rows.items()
    )


def groups(results: Results) -> list[Group]:
    """Return the studies as panels, with panels of one figure together."""
    found: dict[tuple[str, str], list[Tuned]] = {}
    for study in tuned(results):
        first = study.rows[0]
        place = (study.name, study.name) if study.axes else (facet_of(first).title, amount(first.cell))
        found.setdefault(place, []).append(study)
    panels = [Group(*place, tuple(studies)) for place, studies in found.items()]
    subjects = list(dict.fromkeys(panel.subject for panel in panels))
    return sorted(panels, key=lambda panel: (subjects.index(panel.subject), _size(panel)))


def _size(panel: Group) -> float:
    cell = panel.studies[0].rows[0].cell
    return cell.kappa or cell.compression


def _named(cell: Cell) -> dict[str, Any]:
    pruned = {"kappa": cell.kappa} if cell.kappa else {"compression": cell.compression}
    named = {"dataset": cell.dataset, "architecture": cell.architecture, "pruner": cell.pruner}
    return {**named, **pruned, **cell.settings}
