"""Certainty of differences: 95 % intervals over the seeds that two points have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from orchestrator.results.lines import TOP1, CurvePoint, Facet, RowValue, compressions, facets, line, pruners
from orchestrator.results.results import Results

MARGIN = 0.01  # one point of accuracy: typical difference between two seeds; the limit without an interval


@dataclass(frozen=True)
class SeedDifference:
    """Mean difference and its 95 % interval, as fractions, over the `seeds` in common."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def even(self) -> bool:
        """Return True if the difference is equal in all seeds: luck on a small test set, which gives no interval."""
        return self.high - self.low < 1e-9

    @property
    def shown(self) -> bool:
        """Return True if the interval excludes zero or, without one, if the difference is more than a point."""
        return abs(self.mean) > MARGIN if self.even else self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """Return text such as `95 % interval 1.2 to 3.4 points over 3 seeds`."""
        if self.even:
            return f"the same in {self.seeds} seeds, so without an interval"
        return f"95 % interval {points(self.low, self.high)} over {self.seeds} seeds"


def points(low: float, high: float) -> str:
    """Return two fractions in points, `0.2 to 1.4 points`, with enough digits that only zero is shown as zero."""
    ends = [100 * low, 100 * high]
    digits = next((n for n in (1, 2) if all(end == 0 or round(end, n) for end in ends)), 3)
    first, last = (f"{end:.{digits}f}" for end in ends)
    return f"{first} points" if first == last else f"{first} to {last} points"


def difference(one: CurvePoint, other: CurvePoint, measure: RowValue) -> SeedDifference | None:
    """Return one minus the other, seed by seed: equal seeds share their first weights and the order of their data.

    None with fewer than two seeds in common: one number has no spread.
    """
    left, right = _by_seed(one, measure), _by_seed(other, measure)
    gaps = [left[seed] - right[seed] for seed in left if seed in right]
    if len(gaps) < 2:
        return None
    reach = t95(len(gaps) - 1) * stdev(gaps) / math.sqrt(len(gaps))
    return SeedDifference(fmean(gaps), fmean(gaps) - reach, fmean(gaps) + reach, len(gaps))


def t95(freedom: int) -> float:
    """Return the factor of the standard error for a two-sided 95 % interval: Student's t, by degrees of freedom."""
    from scipy.special import stdtrit  # a report without seeds need not wait for it

    return float(stdtrit(freedom, 0.975))


def _by_seed(point: CurvePoint, measure: RowValue) -> dict[int, float]:
    finished = {row.cell.seed: measure(row) for row in point.rows if row.status == "finished"}
    return {seed: value for seed, value in finished.items() if value is not None and math.isfinite(value)}


@dataclass(frozen=True)
class PrunerPair:
    """Two pruners at one facet and compression, and one minus the other over the seeds that both have."""

    facet: Facet
    compression: float
    one: str
    other: str
    gap: SeedDifference

    @property
    def verdict(self) -> str:
        """Return which is ahead in words, or that no difference is shown."""
        if not self.gap.shown:
            return "no difference is shown"
        return f"{self.one if self.gap.mean > 0 else self.other} is ahead"


def pairs(results: Results) -> Iterator[PrunerPair]:
    """Yield all pairs of pruners with at least two seeds in common: one number has no spread, and gives no certainty.

    Points whose seeds early stopping chose are left out: it chose them by the metric that is compared.
    """
    for facet in facets(results):
        lines = {pruner: {p.compression: p for p in line(results, facet, pruner, TOP1)} for pruner in pruners(results)}
        for compression in compressions(results, facet):
            points = {pruner: points[compression] for pruner, points in lines.items() if compression in points}
            here = {pruner: point for pruner, point in points.items() if not point.flatters}
            for one, other in combinations(here, 2):
                gap = difference(here[one], here[other], TOP1) if compression > 1 else None
                if gap is not None:
                    yield PrunerPair(facet, compression, one, other, gap)
