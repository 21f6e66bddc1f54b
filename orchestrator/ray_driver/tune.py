"""Trials on Ray Tune. Ray is the engine, not the ledger: what is done is read from the trials' own records.

So there is no restore: whatever happens, a fresh Tuner over the trials that are not done is right.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.costs.resources import Resources
from orchestrator.driver.asking import Asking
from orchestrator.driver.attempts import Attempts
from orchestrator.driver.corrections import leave_deaths_to_us, survive_the_memory_monitor, write_no_state
from orchestrator.driver.fairness import Fairness, FairScheduler
from orchestrator.driver.flag import Flag, is_up, of_gpu, of_one
from orchestrator.driver.gpu_health import GpuHealth
from orchestrator.driver.handing import Handing
from orchestrator.driver.telling import DIED, TellWatch
from orchestrator.live.rivals import Rivals
from orchestrator.live.sources import Source
from orchestrator.live.stopping import Stop
from orchestrator.live.watch import Watch
from trainables.on_ray.trial import Compared, ray_trial
from trainables.place import Place
from trainables.versions import versions

RESTARTS = 3  # of a Tuner that failed, not a trial


def run_on_ray(
    source: Source,
    place: Place,
    resources: Resources,
    watch: Watch,
    scratch: Path,
    stop: Stop,
    shares: Mapping[str, float] | None = None,
    rivals: Rivals | None = None,
    health: GpuHealth | None = None,
) -> bool:
    """Run the trials of `source` on the connected Ray; False if it was stopped.

    `shares` are the GPUs of each trial by fingerprint, where they are not `resources.gpus`.
    `rivals`: those trials of `source` are given up that fall behind others.
    `scratch` is a folder for what Tune insists on writing; it is removed afterwards.
    """
    survive_the_memory_monitor()
    write_no_state()
    leave_deaths_to_us()
    attempts = Attempts(resources.gpus, shares or {})
    handing = Handing(source, stop)
    fairness = Fairness(rivals) if rivals else None
    failures = 0  # of Tune, one after the other
    health = health or GpuHealth(watch.notice)
    health.notice = watch.notice
    with Flag(stop) as flag:
        health.avoid = flag.avoid
        while handing.begin():  # one Tuner does it, unless Tune itself fails
            tell = TellWatch(watch, handing, stop, flag, attempts, resources, health)
            asking = Asking(handing, attempts, resources, health, fairness)
            known = len(watch.over)
            try:
                _fit(asking, place, resources, tell, scratch, flag, fairness)
            except Exception as error:
                logging.getLogger(__name__).warning("Ray Tune stopped: %s", error, exc_info=True)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            failures = 0 if known != len(watch.over) else failures + 1
            if failures > RESTARTS:
                break
    for fingerprint in watch.begun - watch.over:  # what Tune did not tell the end of
        watch.ended(fingerprint, None if stop() else DIED)
    return not stop()


def _fit(
    asking: Asking,
    place: Place,
    resources: Resources,
    tell: TellWatch,
    scratch: Path,
    flag: Flag,
    fairness: Fairness | None,
) -> None:
    key = flag.key
    compared = None
    if fairness is not None:
        stopping = fairness.rivals.stopping
        compared = Compared(stopping.metric, stopping.rule, lambda fingerprint: is_up(of_one(key, fingerprint)))
    ours = versions()

    def trainable(config: dict[str, Any]) -> None:  # a fresh function: with_resources changes what it is given
        ray_trial(config["point"], place, lambda: is_up(key), ours, compared, lambda *gpu: is_up(of_gpu(key, *gpu)))

    def asked(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": config["point"]["gpus"]}] * resources.workers)

    tune.Tuner(
        tune.with_resources(trainable, asked),
        tune_config=tune.TuneConfig(
            search_alg=asking,
            scheduler=FairScheduler(fairness, flag) if fairness else None,
            num_samples=-1,  # as many as there are
            max_concurrent_trials=resources.max_concurrent,
            reuse_actors=True,  # a fresh process costs seconds of importing torch
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=0),  # what died is given again by us: see `TellWatch`
            callbacks=[tell],
            verbose=0,
        ),
    ).fit()
