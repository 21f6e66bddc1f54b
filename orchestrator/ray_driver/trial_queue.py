"""Trials given to a driver as it has room for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.ray_driver.gpu_health import Gpu
from orchestrator.ray_driver.nodes import answers
from search_spaces import Trial


class Handing:
    """What a source gives, and once more what was given and is not over. Nothing once the sweep is to stop."""

    def __init__(self, source: Source, stop: Stop) -> None:
        self._source, self._stop = source, stop
        self._given: dict[str, Trial] = {}
        self._again: list[Trial] = []
        self._later: list[Trial] = []
        self._dry = False  # whether the source had nothing, and nothing has ended since

    def begin(self) -> bool:
        """A new Tuner is to begin; False if there is nothing for it to do."""
        self._again, self._later = list(self._given.values()), []
        self._dry = False
        return not self.over

    def next(self, slots: int) -> Trial | None:
        """The next trial, None if there is none now."""
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

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        """A trial is over, `stopped_after` so many epochs if it was given up."""
        self._given.pop(fingerprint, None)
        self._source.ended(fingerprint, stopped_after)
        self._dry = False

    def again(self, fingerprint: str) -> None:
        """A trial is not over, but Tune is done with it."""
        self._again.append(self._given[fingerprint])

    def later(self, fingerprint: str) -> None:
        """A trial waits for another process: it is given again where there is nothing else to give."""
        self._later.append(self._given[fingerprint])

    @property
    def outstanding(self) -> int:
        """How many trials are with Tune."""
        return len(self._given) - len(self._again) - len(self._later)

    def out(self, fingerprint: str) -> bool:
        """Whether a trial was given and is not over."""
        return fingerprint in self._given

    @property
    def over(self) -> bool:
        """Whether nothing more will be given: what still runs might have to be given again."""
        return self._stop() or (not self._given and self._source.over)


class Attempts:
    """Kept by fingerprint, for as long as the driver lives."""

    def __init__(self, gpus: float, shares: Mapping[str, float]) -> None:
        """`gpus` is what each trial gets at first, but for those of which `shares` says more."""
        self._gpus = defaultdict(lambda: gpus, shares)
        self._died_on: defaultdict[str, list[tuple[str, Gpu | None]]] = defaultdict(list)

    def share(self, fingerprint: str) -> dict[str, Any]:
        """What the trial is given now, and whether it would be given more."""
        gpus = self._gpus[fingerprint]
        return {"gpus": gpus, "grow": 0 < gpus < 1}

    def grow(self, fingerprint: str) -> tuple[float, float]:
        """Double the share of a trial that ran out of memory, up to a whole GPU; return what it was and what it is."""
        before = self._gpus[fingerprint]
        self._gpus[fingerprint] = min(1.0, 2 * before)
        return before, self._gpus[fingerprint]

    def died(self, fingerprint: str, node: str, gpu: Gpu | None = None, given_up: Collection[Gpu] = ()) -> int:
        """Count the death of a trial's process on `node`, or of its workers on several, with commas; how many count.

        Those on nodes that are gone do not, whatever killed them: on spot instances a trial may lose many nodes. A
        node may go some seconds after its processes, so all are looked at anew each time. Nor do those on a `gpu`
        that is `given_up`.
        """
        deaths = self._died_on[fingerprint]
        deaths.append((node, gpu))
        there = {node: not node or all(map(answers, node.split(","))) for node, _ in deaths}
        return sum(there[node] and gpu not in given_up for node, gpu in deaths)
