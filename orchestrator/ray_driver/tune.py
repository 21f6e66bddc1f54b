"""Execution of trials by Ray Tune. Ray only runs trials; which of them are done is read from their own event logs.

So Tune never restores its state: after any failure a fresh Tuner runs the trials that are not done.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.live.early_stopping_groups import EarlyStoppingGroups
from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.live.uploader import Uploader
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.early_stopping import EarlyStoppingScheduler, GroupedEarlyStopping
from orchestrator.ray_driver.gpu_health import GpuHealth
from orchestrator.ray_driver.queue_searcher import QueueSearcher
from orchestrator.ray_driver.ray_patches import silence_death_reports, survive_the_memory_monitor, write_no_state
from orchestrator.ray_driver.signals import Flag, is_up, of_gpu, of_one
from orchestrator.ray_driver.trial_callback import DIED, TrialCallback
from orchestrator.ray_driver.trial_queue import Attempts, TrialQueue
from pruners.errors import message_of
from trainables.context import Place
from trainables.on_ray.trial import Compared, ray_trial
from trainables.versions import versions

RESTARTS = 3  # consecutive failures of Tune itself, not of trials


def run_on_ray(
    source: Source,
    place: Place,
    resources: Resources,
    uploader: Uploader,
    scratch: Path,
    stop: Stop,
    rivals: EarlyStoppingGroups | None = None,
    health: GpuHealth | None = None,
) -> bool:
    """Run the trials of `source` on the connected Ray; return False if the run was stopped.

    With `rivals`, trials of `source` that fall behind others are stopped early.
    `scratch` is a folder for files that Tune always writes; it is removed afterwards.
    """
    survive_the_memory_monitor()
    write_no_state()
    silence_death_reports()
    attempts = Attempts(resources.gpus, resources.shares)
    queue = TrialQueue(source, stop)
    fairness = GroupedEarlyStopping(rivals) if rivals else None
    failures = 0  # of Tune, consecutive
    fault: Exception | None = None
    health = health or GpuHealth(uploader.notice)
    health.notice = uploader.notice
    with Flag(stop) as flag:
        health.avoid = flag.avoid
        while queue.begin():  # one Tuner is enough, unless Tune itself fails
            callback = TrialCallback(uploader, queue, stop, flag, attempts, resources, health)
            searcher = QueueSearcher(queue, attempts, resources, health, fairness)
            known = len(uploader.over)
            try:
                _fit(searcher, place, resources, callback, scratch, flag, fairness)
            except Exception as error:  # noqa: BLE001 - Ray's errors of any kind, of a lost node for example
                fault = error
                uploader.notice(
                    f"Ray Tune stopped ({message_of(error)[:200]}); it is started again for the trials that are left"
                )
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            failures = 0 if known != len(uploader.over) else failures + 1
            if failures > RESTARTS:
                logging.getLogger(__name__).warning("Ray Tune stops again and again", exc_info=fault)
                break
    for fingerprint in uploader.begun - uploader.over:  # trials whose end Tune did not report
        uploader.ended(fingerprint, None if stop() else DIED)
    return not stop()


def _fit(
    searcher: QueueSearcher,
    place: Place,
    resources: Resources,
    callback: TrialCallback,
    scratch: Path,
    flag: Flag,
    fairness: GroupedEarlyStopping | None,
) -> None:
    key = flag.key
    compared = None
    if fairness is not None:
        stopping = fairness.rivals.stopping
        compared = Compared(stopping.metric, stopping.rule, lambda fingerprint: is_up(of_one(key, fingerprint)))
    ours = versions()

    def trainable(config: dict[str, Any]) -> None:  # a new function each time, because with_resources modifies it
        ray_trial(config["point"], place, lambda: is_up(key), ours, compared, lambda *gpu: is_up(of_gpu(key, *gpu)))

    def asked(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": config["point"]["gpus"]}] * resources.workers)

    tune.Tuner(
        tune.with_resources(trainable, asked),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=EarlyStoppingScheduler(fairness, flag) if fairness else None,
            num_samples=-1,  # as many as the searcher returns
            max_concurrent_trials=resources.max_concurrent,
            reuse_actors=True,  # a fresh process costs seconds of importing torch
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=0),  # `TrialCallback` queues trials again whose process died
            callbacks=[callback],
            verbose=0,
        ),
    ).fit()
