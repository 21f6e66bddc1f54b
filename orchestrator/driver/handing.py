"""Trials handed to Tune as it has room for them."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from orchestrator.driver.attempts import Attempts
from orchestrator.driver.nodes import alive
from orchestrator.resources import Resources, concurrency
from orchestrator.sources import Source
from orchestrator.stopping import Stop
from search_spaces import Trial

SLOTS_TO_COME = 8  # how many trials run at once where all nodes are still to come


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
    def over(self) -> bool:
        """Whether nothing more will be given: what still runs might have to be given again."""
        return self._stop() or (not self._given and self._source.over)


class Asking(Searcher):
    """Asks for Tune. Tune pickles its searchers: all that this one knows stays out of that."""

    def __init__(self, *known: Any) -> None:
        super().__init__()
        self._handing: Handing
        self._attempts: Attempts
        self._resources: Resources
        if known:
            self._handing, self._attempts, self._resources = known

    def __reduce__(self) -> tuple[type[Asking], tuple[()]]:
        return Asking, ()

    def suggest(self, trial_id: str) -> Any:
        """The next trial as Tune's config; None if there is none now."""
        trial = self._handing.next(self._slots())
        if trial is None:
            return Searcher.FINISHED if self._handing.over else None
        point = {"fingerprint": trial.fingerprint, "trial": trial.model_dump_json()}
        return {"point": point | self._attempts.share(trial.fingerprint)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback tells that, and knows more."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing that would be restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor is it."""

    def _slots(self) -> int:
        """How many trials run at once on the nodes that are there."""
        here = sum(concurrency(self._resources, {"CPU": 0, "GPU": 0} | node) for node in alive().values())
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)
