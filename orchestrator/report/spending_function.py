"""Correction of p-values for looking at the seeds again and again, by alpha spending.

Whoever adds seeds until a test shows a difference has many chances of a false one. Lan and DeMets 1983 (Biometrika 70)
share the error among the looks by a function of the seeds so far. Here it is the function that they give for bounds
like Pocock's: of the error, ln(1 + (e - 1) t) is spent after the share t of the seeds. The bounds are those of sums of
normal numbers, found by the recursion of Armitage, McPherson and Rowe 1969. For Student's t the same levels are used
(Jennison and Turnbull 2000, section 4.4); benchmarks/verdicts.py simulates that the error keeps within 5 %.

A p-value over the looks is the smallest error at which the bound of this look is crossed. Such p-values may be
corrected for the number of comparisons by Holm's method, whichever comparisons go on (Maurer and Bretz 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
NODES = 80  # of Gauss and Legendre, in each integral over a sum of normal numbers
ERRORS: list[float] = np.geomspace(
    1e-10, 1.0, 41
).tolist()  # for which the bounds are computed; between them they are interpolated
LOG_ERRORS = np.log(ERRORS)


@dataclass(frozen=True)
class Looks:
    """Looks at a comparison: after `least` seeds, and after each further one up to `most`."""

    least: int
    most: int

    def p_value(self, p: float, seeds: int) -> float:
        """Return the p-value over all looks of a test that gives `p` after `seeds` seeds.

        It is 1 before the first look. After more than `most` seeds the bound of the last look holds.
        """
        if seeds < self.least:
            return 1.0
        levels = _log_levels(self.least, self.most)[min(seeds, self.most) - self.least]
        if p <= math.exp(levels[0]):
            return float(p * ERRORS[0] / math.exp(levels[0]))
        return math.exp(float(np.interp(math.log(p), levels, LOG_ERRORS)))

    def level(self, error: float, seeds: int) -> float:
        """Return the p-value that a test must reach after `seeds` seeds, so that all looks together err by `error`."""
        if seeds < self.least:
            return 0.0
        levels = _log_levels(self.least, self.most)[min(seeds, self.most) - self.least]
        return math.exp(float(np.interp(math.log(error), LOG_ERRORS, levels)))


def spent(share: float) -> float:
    """Return the share of the error that is spent after this share of the seeds (Lan and DeMets 1983)."""
    return math.log1p((math.e - 1) * share)


@lru_cache(maxsize=8)
def _log_levels(least: int, most: int) -> Numbers:
    """Return the logarithm of the two-sided level of each look [looks, ERRORS]."""
    return np.log([levels_at(error, least, most) for error in ERRORS]).T


def levels_at(error: float, least: int, most: int) -> list[float]:
    """Return the two-sided level of each look for one error.

    The state is the density of the sum of `seeds` standard normal numbers that has crossed no bound yet.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    points, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, mass = np.zeros(1), np.ones(1)  # before the first look: the sum is 0
    before, spent_before, levels = 0, 0.0, []
    for seeds in range(least, most + 1):
        width = math.sqrt(seeds - before)
        spend = error * (spent(seeds / most) - spent_before)
        excess = partial(_excess, nodes, mass, width, spend)
        # The bound is between none at all, if that spends too much, and one that no sum of `seeds` numbers may reach.
        high = -math.sqrt(seeds) * float(ndtri(spend / 4))
        bound = float(brentq(excess, 0.0, high, xtol=1e-10)) if excess(0.0) > 0 else 0.0
        levels.append(2 * float(ndtr(-bound / math.sqrt(seeds))))
        to, step = bound * points, bound * weights
        density = np.exp(-0.5 * ((to[:, None] - nodes) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        nodes, mass = to, step * (density @ mass)
        before, spent_before = seeds, spent(seeds / most)
    return levels


def _excess(nodes: Numbers, mass: Numbers, width: float, spend: float, bound: float) -> float:
    """Return log(chance / spend) of the chance that a step of deviation `width` is the first to lead beyond `bound`."""
    from scipy.special import ndtr

    chance = float(mass @ (ndtr((nodes - bound) / width) + ndtr((-nodes - bound) / width)))
    return math.log(chance / spend)
