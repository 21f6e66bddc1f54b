"""Lines of figures and tables: one line per pruner in each facet, one point per compression, seeds pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from orchestrator.results.results import Results
from orchestrator.results.row import Row
from search_spaces import Cell

RowValue = Callable[[Row], float | None]


@dataclass(frozen=True)
class Facet:
    """Everything that is fixed in one panel: dataset, architecture, and every other setting that a space varies."""

    dataset: str
    architecture: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """Return architecture, dataset and settings as one line."""
        return " · ".join([self.architecture, self.dataset, *(f"{key}={value}" for key, value in self.settings)])


@dataclass(frozen=True)
class CurvePoint:
    """One pruner at one compression: the values of the finished seeds, and all rows, finished or not."""

    compression: float
    values: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def mean(self) -> float:
        """Return the mean over the finished seeds, NaN if there is none."""
        return fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float | None:
        """Return the sample standard deviation over seeds, or None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def collapsed(self) -> int:
        """Return how many of its runs were left without a path from input to output."""
        return sum(row.collapsed for row in self.rows)

    @property
    def flatters(self) -> bool:
        """Return True if early stopping chose its seeds: only the best finished, so their mean is no estimate."""
        return {"finished", "stopped"} <= {row.status for row in self.rows}

    @property
    def lost(self) -> bool:
        """Return True if no seed has a value and one failed or was stopped; figures mark these points only."""
        return not self.values and any(row.status in ("failed", "stopped") for row in self.rows)

    @property
    def hole(self) -> str:
        """Return the statuses of seeds without a result: `failed`, `running`, `not run`; empty if there are none."""
        return ", ".join(sorted({row.status for row in self.rows if row.status != "finished"}))


def metric_reader(name: str) -> RowValue:
    """Return a function that reads the metric of a row as logged, None if it has none."""
    return lambda row: row.metrics.get(name)


TOP1 = metric_reader("final/top1")  # the metric by which pruners are compared


def ratio(part: str, whole: str) -> RowValue:
    """Return a function that divides one metric of a row by another, for the share of something that is kept."""

    def measure(row: Row) -> float | None:
        above, below = row.metrics.get(part), row.metrics.get(whole)
        return above / below if above is not None and below else None

    return measure


def percent(part: str, whole: str) -> RowValue:
    """Return a function like `ratio` in percent; None where the share is 0, which a logarithmic axis cannot show."""
    share = ratio(part, whole)
    return lambda row: 100 * value if (value := share(row)) else None


@dataclass(frozen=True)
class Index:
    """Rows of one report by facet, pruner and compression. Built once: a report searches 2000 rows some 1000 times."""

    facets: list[Facet]
    pruners: list[str]
    places: Mapping[tuple[Facet, str], Mapping[float, tuple[Row, ...]]]  # by facet and pruner, then by compression


@lru_cache(maxsize=4)
def index_results(results: Results) -> Index:
    """Return the index of the results: facets and pruners in the order of the space, facets of one dataset together."""
    places: dict[tuple[Facet, str], dict[float, tuple[Row, ...]]] = {}
    for row in results.rows:
        if not row.cell.compression:
            continue  # a kappa without a result yet: its compression is not known, so it has no place on the axis
        place = places.setdefault((facet_of(row), row.cell.pruner), {})
        place[row.cell.compression] = (*place.get(row.cell.compression, ()), row)
    found = list(dict.fromkeys(facet for facet, _ in places))
    datasets = [facet.dataset for facet in found]
    found.sort(key=lambda facet: datasets.index(facet.dataset))
    return Index(found, list(dict.fromkeys(row.cell.pruner for row in results.rows)), places)


def facet_of(row: Row) -> Facet:
    """Return the facet that a row belongs to."""
    return facet_of_cell(row.cell)


def facet_of_cell(cell: Cell) -> Facet:
    """Return the facet that a cell belongs to."""
    settings = tuple(sorted((key, f"{value}") for key, value in cell.settings.items()))
    return Facet(cell.dataset, cell.architecture, settings)


def facets(results: Results, measure: RowValue | None = None) -> list[Facet]:
    """Return the facets in the order of the space, those of one dataset together.

    With `measure`, only those where some pruner has a value of it.
    """
    found = index_results(results).facets
    if measure is None:
        return found
    lines = {facet: [line(results, facet, pruner, measure) for pruner in pruners(results)] for facet in found}
    return [facet for facet in found if any(point.values for points in lines[facet] for point in points)]


def pruners(results: Results) -> list[str]:
    """Return the labels of the pruners in the order of the space."""
    return index_results(results).pruners


def compressions(results: Results, facet: Facet | None = None) -> list[float]:
    """Return the compressions of a facet, or of all facets, in ascending order."""
    places = index_results(results).places
    return sorted({c for (where, _), here in places.items() if facet in (None, where) for c in here})


def pruned(results: Results, facet: Facet) -> list[float]:
    """Return the compressions above 1x at which some trial has finished."""
    places = (here for (where, _), here in index_results(results).places.items() if where == facet)
    return sorted(
        {c for here in places for c, rows in here.items() if c > 1 and any(r.status == "finished" for r in rows)}
    )


def rows_at(results: Results, facet: Facet, pruner: str, compression: float) -> tuple[Row, ...]:
    """Return the rows of one point, one per seed, finished or not."""
    return index_results(results).places.get((facet, pruner), {}).get(compression, ())


def line(results: Results, facet: Facet, pruner: str, measure: RowValue) -> list[CurvePoint]:
    """Return a pruner's points, smallest compression first; points without any result are included, without values."""
    points = []
    for compression, here in sorted(index_results(results).places.get((facet, pruner), {}).items()):
        values = (measure(row) for row in here if row.status == "finished")
        kept = tuple(value for value in values if value is not None and math.isfinite(value))
        points.append(CurvePoint(compression, kept, here))
    return points


def flattering(results: Results) -> int:
    """Return how many points have only the seeds that early stopping left."""
    places = index_results(results).places.values()
    return sum(CurvePoint(c, (), rows).flatters for place in places for c, rows in place.items())


def dense(results: Results, facet: Facet, measure: RowValue) -> CurvePoint | None:
    """Return the unpruned network: the first pruner's point at 1x with values, as all pruners share its trials."""
    for pruner in pruners(results):
        for point in line(results, facet, pruner, measure):
            if point.compression == 1 and point.values and not point.flatters:
                return point
    return None
