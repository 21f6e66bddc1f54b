"""What the driver makes of a trial that it finds in other hands: it waits or leaves it, and tells no failure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from listener import Listener
from orders import Orders
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import TrialList
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.gpu_health import GpuHealth
from orchestrator.ray_driver.ray_patches import survive_the_memory_monitor
from orchestrator.ray_driver.trial_callback import TrialCallback
from orchestrator.ray_driver.trial_queue import Attempts, TrialQueue
from search_spaces import Trial

TRIALS = [Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(3)]


@pytest.fixture
def driver():
    watch, stop = Listener(), Stop()
    queue = TrialQueue(TrialList(TRIALS), stop)
    assert queue.begin()
    attempts, resources = Attempts(0.25, {}), Resources(gpus=0.25)
    health = GpuHealth(watch.notice)
    return queue, watch, TrialCallback(watch, queue, stop, Orders(), attempts, resources, health)


def end(driver, trial, how):
    """Tune says that a trial has returned."""
    _, watch, tell = driver
    watch.started(trial.fingerprint)
    result = {"fingerprint": trial.fingerprint, "end": how, "error": "another process computes it", "epoch": 0}
    known = SimpleNamespace(metric_analysis={"epoch": {"max": 0}}, metric_n_steps={})
    process = SimpleNamespace(config={"point": {"gpus": 0.25}}, run_metadata=known)
    tell.on_trial_result(1, [], process, result)
    tell.on_trial_complete(1, [], process)
    assert not known.metric_analysis  # there may be 10,000 trials


def test_one_that_another_process_computes_comes_again_when_nothing_else_is_left(driver):
    queue, watch, _ = driver
    busy = queue.next(1)
    end(driver, busy, "elsewhere")
    others = [queue.next(1), queue.next(1)]
    assert others == TRIALS[1:]
    for _ in range(2):
        assert queue.next(1) == busy
        assert queue.next(1) is None
        end(driver, busy, "elsewhere")
    assert watch.notices == [f"{busy.fingerprint}: another process computes it"]  # once
    for trial in (*others, queue.next(1)):
        assert not queue.over
        end(driver, trial, "finished")
    assert queue.over
    assert watch.errors == {trial.fingerprint: None for trial in TRIALS}


def test_a_process_killed_by_rays_memory_monitor_is_one_that_died():
    """Ray's own manager takes that for a defect of its own, and would end the whole Tuner."""
    survive_the_memory_monitor()
    told = []
    actor = SimpleNamespace(actor_id=7, _on_error=None)
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda actor, error: told.append(error))
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    error = OutOfMemoryError("killed due to the node running low on memory")
    RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
    assert isinstance(told[0], RayActorError)
    assert "low on memory" in str(told[0])


def test_one_that_was_taken_over_is_left_and_has_not_failed(driver):
    queue, watch, _ = driver
    taken = queue.next(1)
    end(driver, taken, "superseded")
    assert watch.errors == {taken.fingerprint: None}
    assert len(watch.notices) == 1
    assert [queue.next(1) for _ in range(3)] == [*TRIALS[1:], None]
