"""Where an executor gets its trials from: a list, or a search that chooses each by what came of others."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.search.optuna_study import Seeker
from search_spaces import Trial


class Source(Protocol):
    """Asked by an executor whenever it has room for a trial."""

    def next(self, slots: int) -> Trial | None:
        """The next trial, or None: for now, or for good if nothing is on its way. `slots` is how many run at once."""
        ...

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        """A trial that was given out is over, whatever came of it: given up, if it was `stopped_after` some epochs."""
        ...

    @property
    def over(self) -> bool:
        """Whether `next` will give no trial any more, whatever ends."""
        ...


class Listed:
    """Just these trials, in this order."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._left = deque(trials)

    def next(self, slots: int) -> Trial | None:
        return self._left.popleft() if self._left else None

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        pass

    @property
    def over(self) -> bool:
        return not self._left


class Sought:
    """What the studies of a space ask for, and then the best of each with fresh seeds."""

    def __init__(self, seeker: Seeker, expect: Callable[[Trial], bool]) -> None:
        """`expect` is told of each trial before it is given out, and says whether it is to be computed at all."""
        self._seeker, self._expect = seeker, expect
        self._confirming: deque[Trial] = deque()
        self._known: set[str] = set()

    def next(self, slots: int) -> Trial | None:
        parallel = math.ceil(slots / max(1, len(self._seeker.studies)))
        while (trial := self._seeker.next(parallel) or self._confirm()) is not None:
            if self._expect(trial):
                return trial
            self._seeker.ended(trial.fingerprint, stopped_after=0)  # it has a result, or was given up at some time
        return None

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        self._seeker.ended(fingerprint, stopped_after)

    @property
    def over(self) -> bool:
        return self._seeker.over and not self._confirming and not self._news()

    def _confirm(self) -> Trial | None:
        self._confirming += self._news()
        self._known |= {trial.fingerprint for trial in self._confirming}
        return self._confirming.popleft() if self._confirming else None

    def _news(self) -> list[Trial]:
        """The best settings of studies that are over, not given out yet."""
        asked = {found.trial.fingerprint for found in self._seeker.asked} | self._known
        found = {trial.fingerprint: trial for _, trial in self._seeker.best()}
        return [trial for fingerprint, trial in found.items() if fingerprint not in asked]


class InTurn:
    """One source after the other; the second begins when the first has nothing more to give."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def next(self, slots: int) -> Trial | None:
        for source in self._sources:
            if (trial := source.next(slots)) is not None:
                return trial
        return None

    def ended(self, fingerprint: str, stopped_after: int | None = None) -> None:
        for source in self._sources:
            source.ended(fingerprint, stopped_after)

    @property
    def over(self) -> bool:
        return all(source.over for source in self._sources)
