"""Comparison of our results with published ones: a table of differences, and where the recipes differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.report.published import Published, at, for_trial, known_differences
from orchestrator.results.lines import TOP1, CurvePoint, Facet, facets, line, metric_reader, pruners
from orchestrator.results.results import Results
from search_spaces import Trial


@dataclass(frozen=True)
class Beside:
    """One of our points and the published accuracy for it. Accuracies are in percent."""

    facet: Facet
    pruner: str
    point: CurvePoint  # of the metric that matches theirs: of the best or of the last epoch
    row: Published  # of the same line; its compression may be a neighbour's
    top1: float
    how: str  # interpolated between which compressions; empty: as given
    recipe: tuple[str, ...]  # differences between the recipes

    @property
    def difference(self) -> float:
        """Return ours minus theirs, in percentage points."""
        return 100 * self.point.mean - self.top1


def published_points(results: Results) -> list[Beside]:
    """Return each of our points for which a result is published, once per source."""
    lines = ((facet, pruner) for facet in facets(results) for pruner in pruners(results))
    return [found for facet, pruner in lines for found in _line(results, facet, pruner)]


def published_lines(results: Results, facet: Facet) -> tuple[str, dict[str, list[Published]]]:
    """Return the published lines to draw in a panel, by pruner: those of the source with the most points."""
    found: dict[str, dict[str, list[Published]]] = {}
    for pruner in pruners(results):
        for source, rows in _sources(_rows(results, facet, pruner)):
            if len(rows) > 1:
                found.setdefault(source, {})[pruner] = rows
    if not found:
        return "", {}
    best = max(found, key=lambda source: sum(map(len, found[source].values())))
    return best, found[best]


def _line(results: Results, facet: Facet, pruner: str) -> Iterator[Beside]:
    for _, rows in _sources(_rows(results, facet, pruner)):
        name = "best/top1" if rows[0].epoch == "best" else "final/top1"
        for point in line(results, facet, pruner, metric_reader(name)):
            theirs = at(rows, point.compression) if point.values and not point.flatters else None
            if theirs is not None:
                trial = results.trials[point.rows[0].cell.fingerprint]
                yield Beside(facet, pruner, point, rows[0], *theirs, tuple(known_differences(trial, rows[0])))


def _rows(results: Results, facet: Facet, pruner: str) -> list[Published]:
    trial = _trial(results, facet, pruner)
    return for_trial(trial, pruner.partition(" ")[0]) if trial else []


def _trial(results: Results, facet: Facet, pruner: str) -> Trial | None:
    """Return a trial at the largest compression, which prunes if any does; at 1x all pruners share the dense trial."""
    points = line(results, facet, pruner, TOP1)
    return results.trials[points[-1].rows[0].cell.fingerprint] if points else None


def _sources(rows: Sequence[Published]) -> Iterator[tuple[str, list[Published]]]:
    """Yield the rows of each figure or table; two of one paper are two measurements."""

    ordered = sorted(rows, key=lambda row: (row.title, row.compression))
    for source, group in groupby(ordered, key=lambda row: row.title):
        yield source, list(group)
