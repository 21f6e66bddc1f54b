"""Sources of trials for an executor: a list, a search that chooses each trial by the results of others, or seeds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.search.optuna_study import StudySearcher
from orchestrator.search.until_decided import SeedsUntilDecided
from search_spaces import Trial
from trainables.record.files import appears


class Source(Protocol):
    """Source of trials, asked by an executor whenever it has room for one."""

    def next(self, slots: int) -> Trial | None:
        """Return the next trial; None if there is none now, or none at all. `slots` is how many run at once."""
        ...

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        """Record that a trial is over; `stopped_after` is its epochs if it was stopped early, `finished` its claim."""
        ...

    @property
    def over(self) -> bool:
        """True if `next` will return no more trials, whatever ends."""
        ...


class TrialList:
    """Source with a fixed list of trials, in its order."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._left = deque(trials)

    def next(self, slots: int) -> Trial | None:
        return self._left.popleft() if self._left else None

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        pass

    @property
    def over(self) -> bool:
        return not self._left


class StudyTrials:
    """Source of the trials that a space's studies ask for, followed by the best of each study with fresh seeds."""

    def __init__(self, seeker: StudySearcher, expect: Callable[[Trial], bool]) -> None:
        """Call `expect` with each trial before it is handed out; it returns False if the trial is done already."""
        self._seeker, self._expect = seeker, expect
        self._confirming: deque[Trial] = deque()
        self._known: set[str] = set()

    def next(self, slots: int) -> Trial | None:
        parallel = math.ceil(slots / max(1, len(self._seeker.studies)))
        while (trial := self._seeker.next(parallel) or self._confirm()) is not None:
            if self._expect(trial):
                return trial
            self._seeker.ended(trial.fingerprint, stopped_after=0)  # it has a result, or was stopped early before
        return None

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        if finished:  # a shared folder may show its result late, and studies are told only once
            appears(lambda: self._seeker.knows(fingerprint))
        self._seeker.ended(fingerprint, stopped_after)

    @property
    def over(self) -> bool:
        return self._seeker.over and not self._confirming and not self._news()

    def _confirm(self) -> Trial | None:
        self._confirming += self._news()
        self._known |= {trial.fingerprint for trial in self._confirming}
        return self._confirming.popleft() if self._confirming else None

    def _news(self) -> list[Trial]:
        """Return the trials of the best settings of finished studies that were not handed out yet."""
        asked = {found.trial.fingerprint for found in self._seeker.asked} | self._known
        found = {trial.fingerprint: trial for _, trial in self._seeker.best()}
        return [trial for fingerprint, trial in found.items() if fingerprint not in asked]


class FurtherSeeds:
    """Source of further seeds of a grid, until its comparisons are decided; another source has the first seeds."""

    def __init__(self, seeds: SeedsUntilDecided, expect: Callable[[Trial], bool]) -> None:
        """Call `expect` with each trial before it is handed out; it returns False if the trial is done already."""
        self._seeds, self._expect = seeds, expect

    def next(self, slots: int) -> Trial | None:
        while (trial := self._seeds.next()) is not None:
            if self._expect(trial):
                return trial
            self._seeds.ended(trial.fingerprint)
        return None

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        if finished:  # a shared folder may show its result late
            appears(lambda: self._seeds.knows(fingerprint))
        self._seeds.ended(fingerprint)

    @property
    def over(self) -> bool:
        return self._seeds.over


class ChainedTrials:
    """Source that chains others: a trial comes from the first source that has one."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def next(self, slots: int) -> Trial | None:
        for source in self._sources:
            if (trial := source.next(slots)) is not None:
                return trial
        return None

    def ended(self, fingerprint: str, stopped_after: int | None = None, finished: bool = False) -> None:
        for source in self._sources:
            source.ended(fingerprint, stopped_after, finished)

    @property
    def over(self) -> bool:
        return all(source.over for source in self._sources)
