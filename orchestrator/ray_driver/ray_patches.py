"""Monkeypatches of Ray 2.60 and its Tune, where their behaviour does not suit a sweep.

tests/orchestrator/ray_driver/test_ray_patches.py fails for each patch that a newer Ray no longer needs.
"""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray._private import worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution.tune_controller import TuneController


def survive_the_memory_monitor() -> None:
    """Make Tune treat a trial that Ray's memory monitor kills like any trial whose process died.

    Ray 2.60 raises an error that its Tune takes for a defect of its own, and then ends all trials. No upstream issue
    was found (November 2026).
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
    """Keep Tune from storing the state of all trials, on disk and in memory: sweeps never restore it, see `tune`.

    Its cost grows with the number of trials (ray-project/ray#11233).
    """

    def mark(self: TuneController, trial: Any) -> None:
        """Do nothing, so that no trial is marked to be written."""

    setattr(TuneController, TuneController._mark_trial_to_checkpoint.__name__, mark)


def silence_death_reports() -> None:
    """Suppress the two pages that Ray and Tune print for each process that died; the driver prints one line.

    Neither has an option for it, and no upstream issue was found (November 2026).
    """
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    original = worker.print_to_stdstream
    if original.__module__ == __name__:
        return

    def printed(data: dict[str, Any], ignore_prefix: bool) -> None:
        if data.get("pid") != "raylet" or not str(data["lines"][0]).startswith("A worker died or was killed"):
            original(data, ignore_prefix)

    setattr(worker, original.__name__, printed)


def free_statistics(trial: Any) -> None:
    """Free the statistics that Tune keeps of each metric of a finished trial."""
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
