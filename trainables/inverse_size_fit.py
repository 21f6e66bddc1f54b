"""How layers' averages go with their inverse sizes. Without torch: reports fit them too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import StatisticsError, correlation, linear_regression


def inverse(sizes: Sequence[float], averages: Sequence[float]) -> dict[str, float]:
    """Slope and correlation of the averages against the inverse sizes, both logarithmic, as metrics.

    A slope of 1 at a correlation of 1 says that all layers have the same total (Tanaka et al. 2020, section 4).
    Layers whose average is zero have no logarithm and are left out; nothing is said of fewer than two sizes.
    """
    known = [(size, average) for size, average in zip(sizes, averages, strict=True) if average]
    x, y = [-math.log10(size) for size, _ in known], [math.log10(average) for _, average in known]
    try:
        return {"conservation/slope": linear_regression(x, y).slope, "conservation/correlation": correlation(x, y)}
    except StatisticsError:
        return {}
