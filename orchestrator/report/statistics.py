"""Tests, intervals and corrections behind the report's verdicts. Nothing here knows of pruners or of MLflow.

`scipy.special` has the distributions; `scipy.stats` would take three times as long to import. scipy has neither Holm's
correction nor moderated variances, and statsmodels would be one more dependency for ten lines.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Comparison = TypeVar("Comparison", bound=Hashable)
ALPHA = 0.05  # of false claims in one family of comparisons
UNKNOWN_IMAGES = 10_000  # assumed size of a test set without stored predictions
EXACT = 50  # images that differ: with more, the normal distribution is as good as counting
OUTLIERS = 1e-9  # chance at which a variance is no part of the pool: with larger ones false leads were 7 %
CAUTION = 0.7  # standard errors by which variances are taken to differ more than they seem to (benchmarks/verdicts.py)


def logit(accuracy: float, images: int) -> float:
    """Return log(a / (1 - a)), with the accuracy at least half an image away from 0 and 1."""
    half = 0.5 / images
    kept = min(max(accuracy, half), 1 - half)
    return math.log(kept / (1 - kept))


def expit(value: float) -> float:
    """Return the accuracy of a logit."""
    return 1 / (1 + math.exp(-value)) if value > 0 else math.exp(value) / (1 + math.exp(value))


def variance(values: Sequence[float]) -> float:
    """Return the sample variance of two or more values; `statistics.variance` is exact, and twenty times slower."""
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


@dataclass(frozen=True)
class VariancePool:
    """Variance that the cells of a panel have in common, and how many degrees of freedom it is worth to each cell."""

    variance: float = 0.0
    freedom: float = 0.0
    cells: int = 0
    typical: float = math.inf  # a robust common variance, by which outliers are found

    def fits(self, found: float, freedom: int) -> bool:
        """Return False for a variance too large to be of the pool: a cell in which some seeds collapse, for example."""
        from scipy.special import chdtri

        return self.typical == math.inf or found * freedom <= self.typical * float(chdtri(freedom, OUTLIERS))


def pool_variances(variances: Sequence[tuple[float, int]]) -> VariancePool:
    """Return the common part of variances, each given with its degrees of freedom (Smyth 2004, section 6.2).

    True variances are taken to scatter around a common one; the less they scatter, the more the common one is worth.
    How much they scatter is estimated by the variance of their logarithms. Few seeds show that badly, so `CAUTION`
    standard errors are added to it. Variances of zero, of networks that all guess or agree by luck, do not count, and
    outliers do not, such as that of a cell in which one of three seeds collapsed.
    """
    from scipy.special import chdtri, digamma, polygamma

    known = [(value, freedom) for value, freedom in variances if value > 1e-12 and freedom > 0]
    if known:
        typical = float(np.median([value * freedom / chdtri(freedom, 0.5) for value, freedom in known]))
        inside = VariancePool(typical=typical)
        known = [(value, freedom) for value, freedom in known if inside.fits(value, freedom)]
    if len(known) < 3:
        return VariancePool(cells=len(known))
    values, half = np.array([value for value, _ in known]), np.array([freedom for _, freedom in known]) / 2
    logs = np.log(values) - digamma(half) + np.log(half)
    noise = polygamma(1, half)
    error = math.sqrt(float((polygamma(3, half) + 2 * noise**2).mean()) / len(known))
    scatter = float(logs.var(ddof=1) - noise.mean()) + CAUTION * error
    most = float(2 * half.sum())
    freedom = most if scatter <= 0 else min(most, 2 * _trigamma_inverse(scatter))
    common = math.exp(float(logs.mean() + digamma(freedom / 2)) - math.log(freedom / 2))
    return VariancePool(common, freedom, len(known), typical)


def _trigamma_inverse(value: float) -> float:
    """Return y with trigamma(y) = value > 0, by Newton's steps (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    y = 0.5 + 1 / value
    for _ in range(50):
        now = polygamma(1, y)
        step = float(now * (1 - now / value) / polygamma(2, y))
        y += step
        if abs(step) < 1e-9 * y:
            break
    return float(y)


@dataclass(frozen=True)
class SeedMean:
    """Mean of differences or of logits over seeds: its standard error, and the degrees of freedom behind that."""

    mean: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """Return the two-sided p-value of Student's t for a true mean of zero; 1 without any known spread."""
        from scipy.special import stdtr

        if self.error <= 0:
            return 1.0
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval."""
        return self.interval_at(0.05)

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return the interval that misses the true mean with the chance `level`."""
        reach = student(self.freedom, 1 - level / 2) * self.error
        return self.mean - reach, self.mean + reach


def moderated_mean(values: Sequence[float], pool: VariancePool, of: int) -> SeedMean | None:
    """Return the mean of values, one per seed, with a variance moderated by the pool's (Smyth 2004).

    `of` is 1 for values of one cell, 2 for differences between two cells. None with fewer than two values, or if
    neither the values nor the pool have a spread.
    """
    if len(values) < 2:
        return None
    if of == 1 and not pool.fits(variance(values), len(values) - 1):
        pool = VariancePool()
    own, freedom = len(values) - 1, len(values) - 1 + pool.freedom
    moderated = (pool.freedom * of * pool.variance + own * variance(values)) / freedom
    return SeedMean(fmean(values), math.sqrt(moderated / len(values)), freedom) if moderated > 1e-12 else None


def student(freedom: float, chance: float) -> float:
    """Return the value below which Student's t is with this chance."""
    from scipy.special import stdtrit  # a report without seeds need not wait for it

    return float(stdtrit(freedom, chance))


def difference_in_points(middle: float, apart: float) -> float:
    """Return the difference of two accuracies whose logits lie `apart`, evenly around `middle`: in -1 to 1."""
    return expit(middle + apart / 2) - expit(middle - apart / 2)


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, from the images that only one of two networks got right.

    McNemar 1947; exact: the sign test, with the binomial distribution.
    """
    from scipy.special import bdtr

    both = only_one + only_other
    return min(1.0, 2 * float(bdtr(min(only_one, only_other), both, 0.5))) if both else 1.0


def sign_flips(differences: NDArray[np.int64]) -> float:
    """Return the two-sided p-value of integer differences [N], one per image, under random signs.

    The difference of an image is how often, over seeds, one pruner got it right and the other did not, minus the
    reverse. The signs of an image's seeds flip together: that the image is an easy one for a pruner may be the luck of
    the test set. For one seed this is `mcnemar`. With up to `EXACT` images that differ, all flips are counted; with
    more, the normal distribution replaces them, as in Durkalski et al. 2003, corrected for the steps of the sum.
    """
    sizes = np.abs(differences[differences != 0])
    total = abs(int(differences.sum()))
    if not len(sizes):
        return 1.0
    if len(sizes) > EXACT:
        return math.erfc(max(0, total - 1) / math.sqrt(2 * float((sizes.astype(float) ** 2).sum())))
    chances = np.ones(1)
    for size in sizes.tolist():  # chances of the sum of signs times sizes, in steps of two, from the lowest sum up
        longer = np.zeros(len(chances) + size)
        longer[: len(chances)] += chances / 2
        longer[size:] += chances / 2
        chances = longer
    sums = np.arange(len(chances)) * 2 - int(sizes.sum())
    return min(1.0, float(chances[np.abs(sums) >= total].sum()))


def holm(p: Mapping[Comparison, float]) -> dict[Comparison, float]:
    """Return the p-values of one family, corrected for their number: the chance of any false claim is kept (Holm 1979).

    No more than 5 % of families have a false claim if claims are made where a corrected p-value is at most 0.05.
    """
    corrected: dict[Comparison, float] = {}
    largest = 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = max(largest, min(1.0, p[key] * (len(p) - rank)))
        corrected[key] = largest
    return corrected


def wilson(right: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy over the choice of test images (Wilson 1927)."""
    z = 1.959963984540054
    share, width = right / images, z * z / images
    middle, reach = (share + width / 2) / (1 + width), z * math.sqrt(share * (1 - share) / images + width / images / 4)
    return max(0.0, middle - reach / (1 + width)), min(1.0, middle + reach / (1 + width))


def accuracy_interval(accuracies: Sequence[float], pool: VariancePool, images: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a cell's accuracy over seeds, within 0 and 1; None without a known spread.

    With one seed it is `wilson`, over the choice of test images, if their number is known (else 0).
    """
    if len(accuracies) == 1:
        return wilson(round(accuracies[0] * images), images) if images else None
    found = moderated_mean([logit(value, images or UNKNOWN_IMAGES) for value in accuracies], pool, of=1)
    if found is None:
        return None
    low, high = found.interval
    return expit(low), expit(high)


def points(low: float, high: float) -> str:
    """Return two fractions in points, `0.2 to 1.4 points`, with enough digits that only zero is shown as zero."""
    ends = sorted([100 * low, 100 * high])
    digits = next((n for n in (1, 2) if all(end == 0 or round(end, n) for end in ends)), 3)
    first, last = (f"{end:.{digits}f}" for end in ends)
    return f"{first} points" if first == last else f"{first} to {last} points"
