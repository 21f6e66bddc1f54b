"""Queue of trials for Ray Tune, and the attempts of each trial: its GPU share and the deaths of its processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.ray_driver.gpu_health import Gpu
from orchestrator.ray_driver.nodes import answers
from search_spaces import Trial


class TrialQueue:
    """Queue of a source's trials, and again of trials that were handed out and are not over; empty after a stop."""

    def __init__(self, source: Source, stop: Stop) -> None:
        self._source, self._stop = source, stop
        self._given: dict[str, Trial] = {}
        self._again: list[Trial] = []
        self._later: list[Trial] = []
        self._dry = False  # True if the source had no trial, and no trial has ended since

    def begin(self) -> bool:
        """Prepare for a new Tuner: queue unfinished trials again; return False if there is nothing to do."""
        self._again, self._later = list(self._given.values()), []
        self._dry = False
        return not self.over

    def next(self, slots: int) -> Trial | None:
        """Return the next trial, or None if there is none now. `slots` is how many trials can run at once."""
        if self._stop():
            return None
        if self._again:
            return self._again.pop(0)
        trial = None if self._dry else self._source.next(slots)
        self._dry = trial is None
        if trial is not None:
            self._given[trial.fingerprint] = trial
        elif self._later:
            return self._later.pop(0)
        return trial

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        """Record that a trial is over; `stopped_after` is its epochs if it was stopped early, `finished` its claim."""
        self._given.pop(fingerprint, None)
        self._source.ended(fingerprint, stopped_after, finished)
        self._dry = False

    def again(self, fingerprint: str) -> None:
        """Queue a trial again that is not over, though Tune is done with it."""
        self._again.append(self._given[fingerprint])

    def later(self, fingerprint: str) -> None:
        """Queue a trial that waits for another process: it is handed out again when there is no other trial."""
        self._later.append(self._given[fingerprint])

    @property
    def outstanding(self) -> int:
        """Number of trials that Tune has."""
        return len(self._given) - len(self._again) - len(self._later)

    def out(self, fingerprint: str) -> bool:
        """Return True if a trial was handed out and is not over."""
        return fingerprint in self._given

    @property
    def over(self) -> bool:
        """True if no more trials will be handed out. While a trial runs it may have to be handed out again."""
        return self._stop() or (not self._given and self._source.over)


class Attempts:
    """GPU shares and deaths of trials by fingerprint, kept as long as the driver runs."""

    def __init__(self, gpus: float, shares: Mapping[str, float]) -> None:
        """Start each trial with its GPUs in `shares`, or with `gpus` if it is not in there."""
        self._gpus = defaultdict(lambda: gpus, shares)
        self._died_on: defaultdict[str, list[tuple[str, Gpu | None]]] = defaultdict(list)

    def share(self, fingerprint: str) -> dict[str, Any]:
        """Return the trial's current "gpus", and under "grow" whether it can get more."""
        gpus = self._gpus[fingerprint]
        return {"gpus": gpus, "grow": 0 < gpus < 1}

    def grow(self, fingerprint: str) -> tuple[float, float]:
        """Double the share of a trial that ran out of memory, up to a whole GPU; return the old and the new share."""
        before = self._gpus[fingerprint]
        self._gpus[fingerprint] = min(1.0, 2 * before)
        return before, self._gpus[fingerprint]

    def died(self, fingerprint: str, node: str, gpu: Gpu | None = None, broken_gpus: Collection[Gpu] = ()) -> int:
        """Record a death of the trial's process on `node`, and return how many of the trial's deaths count.

        `node` has several ids, separated by commas, if the trial has several workers. Deaths on nodes that are gone do
        not count, because on spot instances a trial may lose many nodes. A node may disappear some seconds after its
        processes, so all nodes are checked each time. Deaths on a `gpu` that is one of `broken_gpus` do not count.
        """
        deaths = self._died_on[fingerprint]
        deaths.append((node, gpu))
        there = {node: not node or all(map(answers, node.split(","))) for node, _ in deaths}
        return sum(there[node] and gpu not in broken_gpus for node, gpu in deaths)
