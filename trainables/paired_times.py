"""Times of two functions in pairs, so that load on the machine changes both times of a pair alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from timeit import Timer

LEAST, MOST = 5, 15  # pairs
SECONDS = 0.5  # after which no more pairs than `LEAST` are begun
SPAN = 0.001  # seconds that each function is timed for in a pair: shorter functions are called several times

Clock = Callable[[], float]  # seconds from any start, as `time.perf_counter` returns them


def paired_times(first: Callable[[], object], second: Callable[[], object], clock: Clock) -> list[tuple[float, float]]:
    """Return the seconds of one call of `first` and of `second`, once per pair.

    In a pair one function is timed directly after the other; which of them begins alternates. Each is called twice
    before. `torch.utils.benchmark.Timer` is not used: it makes two more calls for each timed one, which triples the
    time of slow functions, and its import warns where there is no CUDA.
    """
    timers = [Timer(function, timer=clock) for function in (first, second)]
    calls = [_calls(timer) for timer in timers]
    pairs: list[tuple[float, float]] = []
    started = clock()
    while len(pairs) < LEAST or (len(pairs) < MOST and clock() - started < SECONDS):
        times = [0.0, 0.0]
        for which in (0, 1) if len(pairs) % 2 == 0 else (1, 0):
            times[which] = timers[which].timeit(calls[which]) / calls[which]
        pairs.append((times[0], times[1]))
    return pairs


def _calls(timer: Timer) -> int:
    """Return how many calls take `SPAN` seconds, from the second of two calls: a first call may be slow."""
    timer.timeit(1)
    return max(1, math.ceil(SPAN / max(timer.timeit(1), 1e-7)))
