"""Tune searcher that takes trials from our queue."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from orchestrator.planning.resources import Resources, concurrency
from orchestrator.ray_driver.early_stopping import GroupedEarlyStopping
from orchestrator.ray_driver.gpu_health import GpuHealth
from orchestrator.ray_driver.nodes import alive, to_come
from orchestrator.ray_driver.trial_queue import Attempts, TrialQueue

SLOTS_TO_COME = 8  # assumed number of trials that run at once while no node has joined yet


class QueueSearcher(Searcher):
    """Tune searcher that takes trials from our queue. Pickled without state: sweeps are never restored by Tune."""

    def __init__(
        self,
        queue: TrialQueue,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
        fairness: GroupedEarlyStopping | None = None,
    ) -> None:
        """Take trials from `queue`, with the GPU share from `attempts`; add each to `fairness`.

        While a GPU is suspected (`health`) no trials are taken. If all trials have the same GPU share, at most one
        waits for room, because waiting trials would go to a bad GPU one after the other. More may wait if an autoscaler
        may add nodes for them.
        """
        super().__init__()
        self._queue, self._attempts, self._resources, self._fairness = queue, attempts, resources, fairness
        self._health = health
        self._few = bool(resources.gpus) and not resources.auto and not to_come()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial as Tune's config, whose "point" is the argument of `ray_trial`; None if none now."""
        if self._queue.over:
            return Searcher.FINISHED
        self._health.look()  # while no trial runs, Tune calls only this method and no callback
        slots = self._slots()
        if self._health.waiting or (self._few and self._queue.outstanding > slots):
            return None
        trial = self._queue.next(slots)
        if trial is None:
            return Searcher.FINISHED if self._queue.over else None
        if self._fairness:
            self._fairness.enter(trial)
        point = {"fingerprint": trial.fingerprint, "trial": trial.model_dump_json()}
        return {"point": point | self._attempts.share(trial.fingerprint)}

    def _slots(self) -> int:
        """Return how many trials can run at once on the nodes that are alive."""
        nodes = alive(self._health.broken_gpus)
        here = concurrency(self._resources, *({"CPU": 0, "GPU": 0} | node for node in nodes.values()))
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `TrialCallback` handles the end of trials."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state to restore."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: sweeps are never restored by Tune."""
