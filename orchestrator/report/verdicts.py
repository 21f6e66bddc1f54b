"""Verdicts on pairs of pruners in one panel: a pure function of the panel's finished trials.

Two sources of chance are kept apart. *Seeds*: would another training say the same? Student's t over the seeds that two
pruners have in common, on the logits of their accuracies, with variances moderated by those of the panel's cells.
*Test images*: would other images say the same? McNemar's exact test, and for several seeds its form with random signs.
A pruner leads where both say so; if only the first does, it is ahead on these test images. Each is corrected by Holm's
method over all pairs of the panel, because which pruner leads is seen from the data.
Where a sweep adds seeds until its comparisons are decided, the tests over seeds are corrected for each look as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from statistics import fmean

import numpy as np

from orchestrator.report.spending_function import Looks
from orchestrator.report.statistics import (
    ALPHA,
    UNKNOWN_IMAGES,
    SeedMean,
    VariancePool,
    accuracy_interval,
    difference_in_points,
    holm,
    logit,
    mcnemar,
    moderated_mean,
    points,
    pool_variances,
    sign_flips,
    variance,
)
from orchestrator.results.lines import TOP1, Facet, line, pruners
from orchestrator.results.results import Results
from orchestrator.results.right_images import RightImages, right_images

PairPlace = tuple[float, str, str]  # compression and two pruners
CellResults = tuple[Mapping[int, "PanelTrial"], Mapping[int, float]]  # trials of a cell, and logits, by seed


@dataclass(frozen=True)
class PanelTrial:
    """Finished trial of a panel, as verdicts see it."""

    pruner: str
    compression: float
    seed: int
    top1: float  # a fraction
    right: RightImages | None = None  # None if the trial did not store its predictions


@dataclass(frozen=True)
class SeedTest:
    """Test of a difference over seeds, on the logits of accuracies."""

    apart: SeedMean
    middle: float  # between the two mean logits
    seeds: int
    corrected: float = 1.0  # p-value after Holm's correction

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the difference of accuracies, of this pair alone: within -1 and 1."""
        low, high = self.apart.interval
        return difference_in_points(self.middle, low), difference_in_points(self.middle, high)


@dataclass(frozen=True)
class ImageTest:
    """Test of a difference over test images, for the networks of the seeds in common."""

    images: int
    p: float
    corrected: float = 1.0


@dataclass(frozen=True)
class PairVerdict:
    """Verdict on two pruners at one compression. `gap` is the difference of their means over the seeds in common."""

    compression: float
    better: str
    worse: str
    gap: float  # a fraction, at least 0
    seeds: tuple[int, ...]
    over_seeds: SeedTest | None = None  # None with fewer than two seeds in common, or without any spread
    over_images: ImageTest | None = None  # None unless both stored predictions on one test set

    @property
    def ahead(self) -> bool:
        """Return True if it is shown that another training would be better too, on these test images."""
        return self.over_seeds is not None and self.over_seeds.corrected <= ALPHA

    @property
    def leads(self) -> bool:
        """Return True if it is shown that another training would be better too, and on other test images."""
        return self.ahead and bool(self.holds_for_other_images)

    @property
    def only_here(self) -> bool:
        """Return True if a difference is shown on these test images, or of these networks, but no lead."""
        return self.differs_on_images or (self.ahead and not self.leads)

    def equal_within(self, points: float, looks: Looks) -> bool:
        """Return True if two pruners are shown to differ by less than so many points, on these test images.

        Two one-sided tests at 5 % each, over all looks, for this pair alone (Schuirmann 1987): the interval of 90 %
        is within the margin. Pruners with the same accuracy in each seed are equal.
        """
        if len(self.seeds) < looks.least:
            return False
        if self.over_seeds is None:
            return self.gap == 0
        ends = self.over_seeds.apart.interval_at(looks.level(2 * ALPHA, len(self.seeds)))
        return all(abs(difference_in_points(self.over_seeds.middle, end)) <= points / 100 for end in ends)

    @property
    def holds_for_other_images(self) -> bool | None:
        """Return True if the choice of test images does not explain the difference; None if that is not known."""
        return None if self.over_images is None else self.over_images.corrected <= ALPHA

    @property
    def differs_on_images(self) -> bool:
        """Return True if all that is known is that these two networks differ: they have one seed in common."""
        return len(self.seeds) == 1 and bool(self.holds_for_other_images)

    @property
    def verdict(self) -> str:
        """Return the verdict in a few words."""
        if self.leads:
            return f"{self.better} leads"
        if self.ahead:
            return f"{self.better} is ahead on these test images"
        return "differs on these images" if self.differs_on_images else "no difference is shown"

    def __str__(self) -> str:
        """Return the tests' results: `95 % interval 1.2 to 3.4 points over 3 seeds, p = 0.002; …`."""
        if len(self.seeds) == 1:
            return "one seed" + (f", p = {p_value(self.over_images.corrected)} over images" if self.over_images else "")
        if self.over_seeds is None:
            return f"the same in {len(self.seeds)} seeds, so without an interval"
        tested = self.over_seeds
        said = f"95 % interval {points(*tested.interval)} over {tested.seeds} seeds, p = "
        said += p_value(tested.corrected)
        if self.over_images:
            said += f"; over {self.over_images.images:,} test images p = {p_value(self.over_images.corrected)}"
        return said


@dataclass(frozen=True)
class PanelVerdicts:
    """Verdicts on all pairs of pruners of a panel, by compression and the two names in any order."""

    pool: VariancePool
    images: int  # of the test set; 0 if no trial stored its predictions
    _pairs: Mapping[PairPlace, PairVerdict] = field(default_factory=dict)

    @property
    def pairs(self) -> tuple[PairVerdict, ...]:
        """Return all pairs with a seed in common, lowest compression first."""
        return tuple(self._pairs.values())

    def between(self, compression: float, one: str, other: str) -> PairVerdict | None:
        """Return the verdict on two pruners; None if they have no seed in common there."""
        return self._pairs.get((compression, one, other)) or self._pairs.get((compression, other, one))

    def interval(self, accuracies: Iterable[float]) -> tuple[float, float] | None:
        """Return the 95 % interval of a cell's accuracy, as fractions; None if nothing is known of its spread."""
        return accuracy_interval(list(accuracies), self.pool, self.images)


def verdicts(trials: Iterable[PanelTrial], looks: Looks | None = None, images: int = 0) -> PanelVerdicts:
    """Return the verdicts on all pairs of pruners, given the finished trials of one panel above 1x.

    `looks` is given if the number of seeds was chosen by looking at the results. `images` is the size of the test set
    if it is known from elsewhere than the trials' predictions.
    """
    cells: dict[tuple[float, str], dict[int, PanelTrial]] = {}
    for trial in trials:
        cells.setdefault((trial.compression, trial.pruner), {})[trial.seed] = trial
    images = max((len(t.right.top1) for cell in cells.values() for t in cell.values() if t.right), default=images)
    size = images or UNKNOWN_IMAGES
    logits = {place: {seed: logit(t.top1, size) for seed, t in cell.items()} for place, cell in cells.items()}
    spreads = {
        place: (variance(list(found.values())), len(found) - 1) for place, found in logits.items() if len(found) > 1
    }
    pool = pool_variances(list(spreads.values()))
    outliers = {place for place, spread in spreads.items() if not pool.fits(*spread)}
    pairs: dict[PairPlace, PairVerdict] = {}
    for compression in sorted({compression for compression, _ in cells}):
        names = [pruner for where, pruner in cells if where == compression]
        for one, other in combinations(names, 2):
            places = (compression, one), (compression, other)
            own = VariancePool() if outliers.intersection(places) else pool
            found = _compared([(cells[place], logits[place]) for place in places], own)
            if found is not None:
                pairs[compression, one, other] = found
    return PanelVerdicts(pool, images, _corrected(pairs, looks))


def _compared(cells: list[CellResults], pool: VariancePool) -> PairVerdict | None:
    """Return the uncorrected verdict on two cells, each with its logits by seed; None without a seed in common."""
    (one, one_logits), (other, other_logits) = cells
    seeds = tuple(sorted(one.keys() & other.keys()))
    if not seeds:
        return None
    gap = fmean([one[seed].top1 - other[seed].top1 for seed in seeds])
    if gap < 0:
        return _compared(cells[::-1], pool)
    first = one[seeds[0]], other[seeds[0]]
    over_seeds = _over_seeds([one_logits[seed] for seed in seeds], [other_logits[seed] for seed in seeds], pool)
    tests = over_seeds, _over_images(one, other, seeds)
    return PairVerdict(first[0].compression, first[0].pruner, first[1].pruner, gap, seeds, *tests)


def _over_seeds(one: list[float], other: list[float], pool: VariancePool) -> SeedTest | None:
    """Return the paired test on logits: equal seeds share their first weights and the order of their data."""
    apart = moderated_mean([a - b for a, b in zip(one, other, strict=True)], pool, of=2)
    return None if apart is None else SeedTest(apart, (fmean(one) + fmean(other)) / 2, len(one))


def _over_images(
    one: Mapping[int, PanelTrial], other: Mapping[int, PanelTrial], seeds: tuple[int, ...]
) -> ImageTest | None:
    known = [(a, b) for seed in seeds if (a := one[seed].right) and (b := other[seed].right)]
    if len(known) < len(seeds) or len({right.test_set for pair in known for right in pair}) != 1:
        return None
    if len({len(right.top1) for pair in known for right in pair}) != 1:
        return None
    if len(known) == 1:
        first, second = (right.top1 for right in known[0])
        return ImageTest(len(first), mcnemar(int((first & ~second).sum()), int((second & ~first).sum())))
    differences = sum((a.top1.astype(np.int64) - b.top1 for a, b in known), np.zeros(1, dtype=np.int64))
    return ImageTest(len(differences), sign_flips(differences))


def _corrected(pairs: Mapping[PairPlace, PairVerdict], looks: Looks | None) -> dict[PairPlace, PairVerdict]:
    """Return the verdicts with p-values corrected over all pairs, seeds and images each as a family of its own.

    Those over seeds are corrected for the looks first.
    """
    # A mean of logits may point the other way than the mean accuracy: then nothing is claimed.
    by_seeds = {
        place: (pair.over_seeds.apart.p if pair.over_seeds.apart.mean > 0 else 1.0)
        for place, pair in pairs.items()
        if pair.over_seeds
    }
    if looks is not None:
        by_seeds = {place: looks.p_value(p, len(pairs[place].seeds)) for place, p in by_seeds.items()}
    by_images = {place: pair.over_images.p for place, pair in pairs.items() if pair.over_images}
    over_seeds, over_images = holm(by_seeds), holm(by_images)
    return {
        place: replace(
            pair,
            over_seeds=pair.over_seeds and replace(pair.over_seeds, corrected=over_seeds[place]),
            over_images=pair.over_images and replace(pair.over_images, corrected=over_images[place]),
        )
        for place, pair in pairs.items()
    }


@lru_cache(maxsize=4)
def _panels(results: Results) -> dict[Facet, PanelVerdicts]:
    """Return the verdicts of a report's panels so far; `panel_verdicts` adds to them."""
    return {}


def panel_verdicts(results: Results, facet: Facet) -> PanelVerdicts:
    """Return the verdicts of one panel of a report.

    Points whose seeds early stopping chose are left out: it chose them by the metric that is compared.
    """
    panels = _panels(results)
    if facet not in panels:
        rule = results.until
        panels[facet] = verdicts(panel_trials(results, facet), Looks(rule.least, rule.most) if rule else None)
    return panels[facet]


def panel_trials(results: Results, facet: Facet) -> Iterator[PanelTrial]:
    """Yield the trials of a panel that count."""
    right = right_images(results)
    for pruner in pruners(results):
        for point in line(results, facet, pruner, TOP1):
            if point.compression == 1 or point.flatters:
                continue
            for row in point.rows:
                value = TOP1(row) if row.status == "finished" else None
                if value is not None and math.isfinite(value):
                    yield PanelTrial(pruner, point.compression, row.cell.seed, value, right.get(row.run_id))


def p_value(p: float) -> str:
    """Return a p-value with one significant digit below 0.1, and none so small that it says nothing."""
    return "1" if p >= 0.995 else f"{p:.2f}" if p >= 0.095 else f"{p:.1g}" if p >= 1e-4 else "below 0.0001"
