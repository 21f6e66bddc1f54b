"""Ranking in words: which pruner leads at which compression, by how much, and whether the seeds support it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

from orchestrator.report.figures.finding import listed
from orchestrator.report.statistics import MARGIN, SeedDifference, difference, points
from orchestrator.results.lines import TOP1, CurvePoint, Facet, compressions, dense, facet_of, flattering, line, pruners
from orchestrator.results.results import Results
from search_spaces.density import MANY_TIED

SURVIVORS = (
    "Early stopping gave up some seeds of {} points. The mean of their other seeds is too optimistic, so the "
    "statements here leave these points out. Without early_stopping the same command continues the stopped trials."
)


@dataclass(frozen=True)
class Ranking:
    """Ranking at one compression of a facet: the pruners tied with the best, best first, and the missing pruners."""

    compression: float
    leaders: tuple[str, ...]
    missing: tuple[str, ...]
    best: CurvePoint
    next: str  # the first that is clearly below the best; empty if none is
    lead: float | None  # of the best over `next`, as a fraction
    sure: SeedDifference | None  # the interval of that lead, if there are enough seeds
    broken: tuple[str, ...]  # leaders that have a collapsed network

    @property
    def group(self) -> tuple[list[str], tuple[str, ...]]:
        """Return a key: neighbouring compressions with the same key share one sentence."""
        return sorted(self.leaders), self.missing


def sentences(results: Results, facet: Facet) -> list[str]:
    """Return the statements that the results of a facet support."""
    said = []
    unpruned = dense(results, facet, TOP1)
    if unpruned is not None:
        said.append(f"The dense network reaches {_percent(unpruned)}.")
    ranked = list(standings(results, facet))
    for _, group in groupby(ranked, key=lambda standing: standing.group):
        said.append(_lead(list(group)))
    if unpruned is not None and ranked:
        said.append(_free(unpruned, ranked))
    if gone := _collapsed(results, facet):
        said.append(f"No path of kept weights leads from input to output: {'; '.join(gone)}.")
    if tied := _tied(results, facet):
        said.append(
            f"More than {100 * MANY_TIED:g} % of the kept weights were kept only because of their position, since "
            f"their scores tie with those of pruned ones: {'; '.join(tied)}."
        )
    if missing := sum(facet_of(row) == facet for row in results.missing):
        said.append(f"Cells without a result, left out here and listed under Missing results: {missing}.")
    return said if unpruned or ranked else ["Nothing to compare yet.", *said]


def care(results: Results) -> str:
    """Return how far differences can be trusted, given the number of seeds."""
    count = len({row.cell.seed for row in results.rows})
    if count == 0:
        return "No cell has a result yet: trials of a search do not count as results."
    chosen = flattering(results)
    return _seeds(count) + (f" {SURVIVORS.format(chosen)}" if chosen else "")


def _seeds(count: int) -> str:
    if count == 1:
        return "One seed: the spread is not known, and a difference under one point is not called a lead."
    return (
        f"{count} seeds: a pruner leads where the 95 % interval of the difference, seed by seed, excludes zero. "
        "Elsewhere no difference is shown, which does not mean that there is none. The intervals are not corrected "
        "for the number of comparisons: of twenty such statements one may be chance."
    )


def standings(results: Results, facet: Facet) -> Iterator[Ranking]:
    """Yield the ranking at each compression where two or more pruners have a result without bias by early stopping."""
    lines = {
        pruner: {point.compression: point for point in line(results, facet, pruner, TOP1)}
        for pruner in pruners(results)
    }
    for compression in compressions(results, facet):
        asked = {pruner: points[compression] for pruner, points in lines.items() if compression in points}
        here = {pruner: point for pruner, point in asked.items() if point.values and not point.flatters}
        if compression == 1 or len(here) < 2:
            continue
        order = sorted(here, key=lambda pruner: here[pruner].mean, reverse=True)
        best = here[order[0]]
        leaders = tuple(pruner for pruner in order if not _beats(best, here[pruner]))
        below = next((pruner for pruner in order if pruner not in leaders), "")
        missing = tuple(pruner for pruner in asked if pruner not in here)
        lead = best.mean - here[below].mean if below else None
        sure = difference(best, here[below], TOP1) if below else None
        broken = tuple(pruner for pruner in leaders if here[pruner].collapsed)
        yield Ranking(compression, leaders, missing, best, below, lead, sure, broken)


def _beats(best: CurvePoint, other: CurvePoint) -> bool:
    gap = difference(best, other, TOP1)
    return best.mean - other.mean > MARGIN if gap is None else gap.shown and gap.mean > 0


def _lead(group: Sequence[Ranking]) -> str:
    """Return one sentence for neighbouring compressions with the same leading pruners."""
    where = f"At {_range([standing.compression for standing in group])}"
    if group[0].missing:
        where += f" (without {listed(group[0].missing)})"
    leaders = group[0].leaders
    leads = [standing.lead for standing in group if standing.lead is not None]
    if not leads:
        return f"{where}, no difference is shown."
    ahead, others = points(min(leads), max(leads)), {standing.next for standing in group if standing.next}
    if len(leaders) == 1:
        return (
            f"{where}, {leaders[0]} leads {others.pop() if len(others) == 1 else 'the next'} by {ahead}{_sure(group)}."
        )
    return (
        f"{where}, no difference is shown between {listed(_leaders(group))}; the best of them is {ahead} above "
        f"{others.pop() if len(others) == 1 else 'the first one clearly below'}{_sure(group)}."
    )


def _leaders(group: Sequence[Ranking]) -> list[str]:
    """Return the leaders' names, marked if networks collapsed: these may be tied only by an uncertain mean."""
    broken = {pruner for standing in group for pruner in standing.broken}
    return [
        f"{pruner} (with collapsed networks)" if pruner in broken else pruner for pruner in sorted(group[0].leaders)
    ]


def _sure(group: Sequence[Ranking]) -> str:
    """Return how certain the lead is at the highest compression of a group, which readers care about most."""
    last = group[-1]
    at = f"at {last.compression:g}x: " if len(group) > 1 else ""
    if last.sure is None:
        return f" ({at}one seed in common, so without an interval)" if len(last.best.values) > 1 else ""
    return f" ({at}{last.sure})"


def _free(unpruned: CurvePoint, ranked: Sequence[Ranking]) -> str:
    near = list(takewhile(lambda standing: unpruned.mean - standing.best.mean <= MARGIN, ranked))
    if not near:
        return "No pruned network stays within a point of the dense one."
    last = near[-1]
    return f"Up to {last.compression:g}x, the best ({last.leaders[0]}) stays within a point of the dense network."


def _collapsed(results: Results, facet: Facet) -> list[str]:
    said = []
    for pruner in pruners(results):
        every = [point for point in line(results, facet, pruner, TOP1) if point.compression > 1 and point.values]
        to_the_end = list(takewhile(lambda point: point.collapsed == len(point.values), reversed(every)))
        some = [point for point in every[: len(every) - len(to_the_end)] if point.collapsed]
        where = [f"at {p.compression:g}x ({p.collapsed} of {len(p.values)} runs)" for p in some]
        if to_the_end:
            where.append(f"{'from' if to_the_end[1:] else 'at'} {to_the_end[-1].compression:g}x")
        if where:
            said.append(f"{pruner} {listed(where)}")
    return said


def _tied(results: Results, facet: Facet) -> list[str]:
    """Return the pruners whose masks were drawn among ties, and at which compressions."""
    said = []
    for pruner in pruners(results):
        where = [
            f"{point.compression:g}x"
            for point in line(results, facet, pruner, TOP1)
            if any(row.metrics.get("prune/tied_scores", 0.0) > MANY_TIED for row in point.rows)
        ]
        if where:
            said.append(f"{pruner} at {listed(where)}")
    return said


def _percent(point: CurvePoint) -> str:
    spread = "" if point.std is None else f" ± {100 * point.std:.1f}"
    return f"{100 * point.mean:.1f}{spread} %"


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g}x" if len(values) == 1 else f"{values[0]:g}x to {values[-1]:g}x"
