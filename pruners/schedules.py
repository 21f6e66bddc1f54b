"""Schedules: how the density falls over the pruning iterations."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from pruners.errors import PruningError, require_known
from search_spaces.density import Density

_AFTER: dict[str, Callable[[Any, Any], Density]] = {  # (final density, progress in (0, 1]) -> density
    "oneshot": lambda density, progress: density,
    "exponential": lambda density, progress: float(density) ** float(progress),
    "linear": lambda density, progress: 1 - (1 - density) * progress,
    "cubic": lambda density, progress: density + (1 - density) * (1 - progress) ** 3,
}
SCHEDULES = tuple(_AFTER)


def densities(schedule: str, density: Density, iterations: int) -> list[Density]:
    """Return the density to reach after each of T = `iterations` pruning iterations; the last is exactly `density`.

    After iteration t: exponential density^(t/T) (Tanaka et al. 2020, algorithm 1); linear
    1 - (1 - density) t/T; cubic density + (1 - density) (1 - t/T)^3 (Zhu and Gupta 2017, equation 1). For a
    Fraction, linear and cubic densities are exact; for a float, all are rounded to floats.
    Raises PruningError for an unknown schedule, a density outside (0, 1], fewer than one iteration, or a
    one-shot schedule of several iterations.
    """
    require_known("schedule", schedule, SCHEDULES)
    if not 0 < density <= 1:
        raise PruningError(f"The density to reach is {density}; it must lie in (0, 1].")
    if iterations < 1:
        raise PruningError(f"Pruning takes {iterations} iterations; it must take at least 1.")
    if schedule == "oneshot" and iterations > 1:
        raise PruningError(
            f"A oneshot schedule has 1 iteration, not {iterations}; choose exponential, linear or cubic."
        )
    after = _AFTER[schedule]
    progress = (Fraction(t, iterations) for t in range(1, iterations))
    if isinstance(density, Fraction):
        return [*(after(density, share) for share in progress), density]
    return [*(after(density, float(share)) for share in progress), density]
