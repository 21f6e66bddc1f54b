"""Every pruner against every other at each compression: the difference, its 95 % interval, and what that shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from orchestrator.comparing.certainty import Difference, difference
from orchestrator.reading.lines import TOP1, Facet, compressions, facets, line, pruners
from orchestrator.reading.results import Results


@dataclass(frozen=True)
class Pair:
    """Two pruners at one place, and one minus the other over the seeds that both have."""

    facet: Facet
    compression: float
    one: str
    other: str
    gap: Difference

    @property
    def verdict(self) -> str:
        """In words; none is shown where the interval holds zero."""
        if not self.gap.shown:
            return "no difference is shown"
        return f"{self.one if self.gap.mean > 0 else self.other} is ahead"


def pairs(results: Results) -> Iterator[Pair]:
    """All pairs with at least two seeds in common: one number has no spread, and says nothing of certainty.

    Nor do the seeds that early stopping left: it chose them by what is compared.
    """
    for facet in facets(results):
        lines = {pruner: {p.compression: p for p in line(results, facet, pruner, TOP1)} for pruner in pruners(results)}
        for compression in compressions(results, facet):
            points = {pruner: points[compression] for pruner, points in lines.items() if compression in points}
            here = {pruner: point for pruner, point in points.items() if not point.flatters}
            for one, other in combinations(here, 2):
                gap = difference(here[one], here[other], TOP1) if compression > 1 else None
                if gap is not None:
                    yield Pair(facet, compression, one, other, gap)
