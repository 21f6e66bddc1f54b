"""Trials handed to Tune as it has room for them."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from orchestrator.costs.resources import Resources, concurrency
from orchestrator.driver.attempts import Attempts
from orchestrator.driver.fairness import Fairness
from orchestrator.driver.gpu_health import GpuHealth
from orchestrator.driver.handing import Handing
from orchestrator.driver.nodes import alive, to_come

SLOTS_TO_COME = 8  # how many trials run at once where all nodes are still to come


class Asking(Searcher):
    """Asks for Tune. Tune pickles its searchers: all that this one knows stays out of that."""

    def __init__(
        self,
        handing: Handing,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
        fairness: Fairness | None = None,
    ) -> None:
        """Take trials from `handing`, with the share that `attempts` has for each; `fairness` is told of them.

        While a GPU is suspected (`health`) there are none. And where GPUs are shared out evenly no more than one waits
        for room, unless more nodes may come for those that wait: else they would fill a bad GPU one after the other.
        """
        super().__init__()
        self._handing, self._attempts, self._resources, self._fairness = handing, attempts, resources, fairness
        self._health = health
        self._few = bool(resources.gpus) and not resources.auto and not to_come()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Give the next trial as Tune's config, as `ray_trial` takes its point; None if there is none now."""
        if self._handing.over:
            return Searcher.FINISHED
        self._health.look()  # where no trial runs Tune stays in here, and asks no one else
        slots = self._slots()
        if self._health.waiting or (self._few and self._handing.outstanding > slots):
            return None
        trial = self._handing.next(slots)
        if trial is None:
            return Searcher.FINISHED if self._handing.over else None
        if self._fairness:
            self._fairness.enter(trial)
        point = {"fingerprint": trial.fingerprint, "trial": trial.model_dump_json()}
        return {"point": point | self._attempts.share(trial.fingerprint)}

    def _slots(self) -> int:
        """How many trials run at once on the nodes that are there."""
        nodes = alive(self._health.given_up)
        here = concurrency(self._resources, *({"CPU": 0, "GPU": 0} | node for node in nodes.values()))
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback tells that, and knows more."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing that would be restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor is it."""
