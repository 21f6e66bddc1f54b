"""What is compared: one line per pruner in every facet, one point per compression, seeds taken together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from orchestrator.results.results import Results
from orchestrator.results.row import Row

RowValue = Callable[[Row], float | None]


@dataclass(frozen=True)
class Facet:
    """All that is held fixed in one panel: dataset, architecture, and every other setting that a space varies."""

    dataset: str
    architecture: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return " · ".join([self.architecture, self.dataset, *(f"{key}={value}" for key, value in self.settings)])


@dataclass(frozen=True)
class CurvePoint:
    """One pruner at one compression: the finished seeds, and how many of the rows that were asked have none."""

    compression: float
    values: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values) if self.values else math.nan

    @property
    def std(self) -> float | None:
        """The sample standard deviation; one seed has none."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def collapsed(self) -> int:
        """How many of its runs were left without a path from input to output."""
        return sum(row.collapsed for row in self.rows)

    @property
    def flatters(self) -> bool:
        """Whether early stopping chose its seeds: it left the best of them, and their mean is no estimate."""
        return {"finished", "stopped"} <= {row.status for row in self.rows}

    @property
    def lost(self) -> bool:
        """Whether it was tried in vain. What was not run yet, or still runs, is no mark in a figure."""
        return not self.values and any(row.status in ("failed", "stopped") for row in self.rows)

    @property
    def hole(self) -> str:
        """Why some seed is missing: `failed`, `running`, `not run`; empty if none is."""
        return ", ".join(sorted({row.status for row in self.rows if row.status != "finished"}))


def metric(name: str) -> RowValue:
    """The metric as logged."""
    return lambda row: row.metrics.get(name)


TOP1 = metric("final/top1")  # what pruners are compared by


def ratio(part: str, whole: str) -> RowValue:
    """One metric over another, for what is kept of something."""

    def measure(row: Row) -> float | None:
        above, below = row.metrics.get(part), row.metrics.get(whole)
        return above / below if above is not None and below else None

    return measure


def percent(part: str, whole: str) -> RowValue:
    """The same in percent; None where nothing is left, which a logarithmic axis cannot show."""
    share = ratio(part, whole)
    return lambda row: 100 * value if (value := share(row)) else None


@dataclass(frozen=True)
class Index:
    """The rows of one report, sorted once: two thousand are looked through some thousand times."""

    facets: list[Facet]
    pruners: list[str]
    places: Mapping[tuple[Facet, str], Mapping[float, tuple[Row, ...]]]  # by facet and pruner, then by compression


@lru_cache(maxsize=4)
def index(results: Results) -> Index:
    """Facets and pruners in the order of the space, the facets of one dataset together."""
    places: dict[tuple[Facet, str], dict[float, tuple[Row, ...]]] = {}
    for row in results.rows:
        if not row.cell.compression:
            continue  # of a kappa that has no result yet: a hole that has no place on an axis
        place = places.setdefault((facet_of(row), row.cell.pruner), {})
        place[row.cell.compression] = (*place.get(row.cell.compression, ()), row)
    found = list(dict.fromkeys(facet for facet, _ in places))
    datasets = [facet.dataset for facet in found]
    found.sort(key=lambda facet: datasets.index(facet.dataset))
    return Index(found, list(dict.fromkeys(row.cell.pruner for row in results.rows)), places)


def facet_of(row: Row) -> Facet:
    settings = tuple(sorted((key, f"{value}") for key, value in row.cell.settings.items()))
    return Facet(row.cell.dataset, row.cell.architecture, settings)


def facets(results: Results, measure: RowValue | None = None) -> list[Facet]:
    """In the order of the space, those of one dataset together; all, or where some pruner has a value of `measure`."""
    found = index(results).facets
    if measure is None:
        return found
    lines = {facet: [line(results, facet, pruner, measure) for pruner in pruners(results)] for facet in found}
    return [facet for facet in found if any(point.values for points in lines[facet] for point in points)]


def pruners(results: Results) -> list[str]:
    """The labels in the order of the space."""
    return index(results).pruners


def compressions(results: Results, facet: Facet | None = None) -> list[float]:
    places = index(results).places
    return sorted({c for (where, _), here in places.items() if facet in (None, where) for c in here})


def pruned(results: Results, facet: Facet) -> list[float]:
    """The compressions above 1x at which something has finished."""
    places = (here for (where, _), here in index(results).places.items() if where == facet)
    return sorted(
        {c for here in places for c, rows in here.items() if c > 1 and any(r.status == "finished" for r in rows)}
    )


def rows_at(results: Results, facet: Facet, pruner: str, compression: float) -> tuple[Row, ...]:
    """The seeds of one point, finished or not."""
    return index(results).places.get((facet, pruner), {}).get(compression, ())


def line(results: Results, facet: Facet, pruner: str, measure: RowValue) -> list[CurvePoint]:
    """A pruner's points, smallest compression first; a point without any result is there, and is empty."""
    points = []
    for compression, here in sorted(index(results).places.get((facet, pruner), {}).items()):
        values = (measure(row) for row in here if row.status == "finished")
        kept = tuple(value for value in values if value is not None and math.isfinite(value))
        points.append(CurvePoint(compression, kept, here))
    return points


def flattering(results: Results) -> int:
    """How many points have only the seeds that early stopping left."""
    places = index(results).places.values()
    return sum(CurvePoint(c, (), rows).flatters for place in places for c, rows in place.items())


def dense(results: Results, facet: Facet, measure: RowValue) -> CurvePoint | None:
    """The unpruned network: any pruner's point at 1x, as they share its trials."""
    for pruner in pruners(results):
        for point in line(results, facet, pruner, measure):
            if point.compression == 1 and point.values and not point.flatters:
                return point
    return None
