"""What Ray 2.60's Tune does otherwise than a sweep needs it, set right inside it."""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray._private import worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution.tune_controller import TuneController


def survive_the_memory_monitor() -> None:
    """A trial that Ray kills because a node runs out of memory is a trial that died.

    Ray 2.60 raises an error there which its Tune takes for a defect of its own, and ends all trials.
    """
    original = RayActorManager._actor_task_failed
    if original.__module__ == __name__:
        return

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.OutOfMemoryError):
            actor = tracked_actor_task._tracked_actor.actor_id
            exception = ray.exceptions.RayActorError(str(actor), str(exception))
        original(self, tracked_actor_task=tracked_actor_task, exception=exception)

    setattr(RayActorManager, original.__name__, failed)


def write_no_state() -> None:
    """Tune writes, and holds in memory, the state of all its trials for a restore that never comes: see `tuning`."""

    def mark(self: TuneController, trial: Any) -> None:
        """This one too need not be written."""

    setattr(TuneController, TuneController._mark_trial_to_checkpoint.__name__, mark)


def leave_deaths_to_us() -> None:
    """Keep from the terminal what Ray and Tune print of each process that died: two pages, where we tell a line."""
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    original = worker.print_to_stdstream
    if original.__module__ == __name__:
        return

    def printed(data: dict[str, Any], ignore_prefix: bool) -> None:
        if data.get("pid") != "raylet" or not str(data["lines"][0]).startswith("A worker died or was killed"):
            original(data, ignore_prefix)

    setattr(worker, original.__name__, printed)


def forget(trial: Any) -> None:
    """Let go of the means and extremes that Tune holds of each number of a trial that is over."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
