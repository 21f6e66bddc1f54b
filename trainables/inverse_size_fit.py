"""Fit of layers' averages against their inverse sizes. It does not import torch, because reports use it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import StatisticsError, correlation, linear_regression


def inverse(sizes: Sequence[float], averages: Sequence[float]) -> dict[str, float]:
    """Return slope and correlation of log averages against log inverse sizes, as metrics.

    A slope of 1 with a correlation of 1 means that all layers have the same total (Tanaka et al. 2020, section 4).
    Layers with an average of zero have no logarithm and are left out. Fewer than two different sizes give {}.
    """
    known = [(size, average) for size, average in zip(sizes, averages, strict=True) if average]
    x, y = [-math.log10(size) for size, _ in known], [math.log10(average) for _, average in known]
    try:
        return {"conservation/slope": linear_regression(x, y).slope, "conservation/correlation": correlation(x, y)}
    except StatisticsError:
        return {}
