"""Pivot tables of the report, formatted: per facet a row per pruner and a column per compression."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.report.ranking_text import standings
from orchestrator.results.lines import (
    CurvePoint,
    Facet,
    RowValue,
    compressions,
    facets,
    line,
    metric_reader,
    pruners,
    ratio,
)
from orchestrator.results.results import Results
from trainables.metrics import METRICS, Metric


@dataclass(frozen=True)
class PivotValue:
    """Quantity of a table: `name` of its files, `title` with its unit, and the format of values."""

    name: str
    title: str
    measure: RowValue  # as shown
    logged: RowValue  # as in MLflow, for the CSV
    scale: float
    digits: int
    whole: str = ""  # the metric of which shares are shown
    unit: str = ""  # of `whole`


@dataclass(frozen=True)
class Entry:
    """One point as a table shows it."""

    text: str
    hole: bool = False
    collapsed: bool = False
    leads: bool = False
    value: float | None = None  # to sort by


@dataclass(frozen=True)
class PivotTable:
    """Pivot of one facet."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[Entry]]]


def _value(name: str, kept: Metric) -> PivotValue:
    title = kept.caption or kept.title
    if not kept.share_of:
        return PivotValue(kept.table, title, metric_reader(name), metric_reader(name), kept.scale, kept.digits)
    share, unit = ratio(name, kept.share_of), METRICS[kept.share_of].unit
    return PivotValue(kept.table, title, share, metric_reader(name), 100, kept.digits, kept.share_of, unit)


# Accuracy, the three tables of Princeton's COS598D assignment, and every other metric with a table in the registry.
QUANTITIES = tuple(_value(name, kept) for name, kept in METRICS.items() if kept.table)


def grids(results: Results) -> Iterator[tuple[PivotValue, list[PivotTable]]]:
    """Yield every quantity that some finished run has logged, with its tables."""
    for quantity in QUANTITIES:
        found = [_grid(results, facet, quantity) for facet in facets(results, quantity.measure)]
        if found:
            yield quantity, found


def accuracies(results: Results, facet: Facet | None = None) -> PivotTable | None:
    """Return the table of accuracies of a facet, by default of the first that has any; None if none has."""
    (accuracy,) = (quantity for quantity in QUANTITIES if quantity.name == "accuracy")
    shown = [facet] if facet else facets(results, accuracy.measure)[:1]
    return _grid(results, shown[0], accuracy) if shown else None


def _grid(results: Results, facet: Facet, quantity: PivotValue) -> PivotTable:
    leaders = set()
    if quantity.name == "accuracy":
        clear = [here for here in standings(results, facet) if here.lead is not None]
        leaders = {(here.compression, pruner) for here in clear for pruner in here.leaders}
    columns = compressions(results, facet)
    lines = {pruner: line(results, facet, pruner, quantity.measure) for pruner in pruners(results)}
    write = _writer(quantity, [point.mean for points in lines.values() for point in points if point.values])
    rows = []
    for pruner, points in lines.items():
        if here := {point.compression: point for point in points}:
            rows.append((pruner, [_entry(here.get(c), (c, pruner) in leaders, write) for c in columns]))
    return PivotTable(_title(results, facet, quantity), [f"{c:g}x" for c in columns], rows)


def _title(results: Results, facet: Facet, quantity: PivotValue) -> str:
    """Return the title, with the dense network's size where shares are shown."""
    rows = (row for pruner in pruners(results) for point in line(results, facet, pruner, quantity.measure)
            for row in point.rows)  # fmt: skip
    size = max((row.metrics.get(quantity.whole, 0) for row in rows), default=0)
    return f"{facet.title}, dense: {_si(size)} {quantity.unit}" if size else facet.title


def _si(number: float) -> str:
    for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:g}"


def _writer(quantity: PivotValue, means: Iterable[float]) -> Callable[[float], str]:
    """Return a formatter with equal digits for the whole table, at least two significant ones for the smallest mean."""
    smallest = min((quantity.scale * mean for mean in means if mean > 0), default=1)
    digits = max(quantity.digits, 1 - math.floor(math.log10(smallest)))
    return lambda value: f"{quantity.scale * value:.{digits}f}"


def _entry(point: CurvePoint | None, leads: bool, write: Callable[[float], str]) -> Entry:
    """Return `93.1 ± 0.2`, the word for a missing result, or both if some of the seeds are missing."""
    if point is None:
        return Entry("–")  # no sweep asked for it
    if not point.values:
        return Entry(point.hole or "not logged", hole=True)
    text = write(point.mean) + ("" if point.std is None else f" ± {write(point.std)}")
    missing = len(point.values) < len(point.rows)
    best = "best " if point.flatters else ""
    text += f" ({best}{len(point.values)}/{len(point.rows)})" if missing else ""
    return Entry(text, missing, point.collapsed > 0, leads, point.mean)
