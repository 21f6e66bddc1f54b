"""A trial as a Ray Tune function trainable."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import ray
from ray import tune

from search_spaces import Trial
from trainables.context import Place
from trainables.on_ray.workers import MisplacedError, misplaced, nodes, ray_workers
from trainables.run import TrialOutcome, run

ASK_SECONDS = 1.0  # between two calls of `stop`; an epoch of a small network is shorter


@dataclass(frozen=True)
class Compared:
    """How a trial is compared with others while it trains."""

    metric: str  # reported after each epoch
    rule: str  # the rule of early stopping, in words
    stopped_early: Callable[[str], bool]  # True if the trial of a fingerprint was pruned; called after each report


def ray_trial(
    point: Mapping[str, Any],
    place: Place,
    stop: Callable[[], bool],
    drivers_versions: Mapping[str, str],
    compared: Compared | None,
    avoided: Callable[[str, str], bool] = lambda node, gpu: False,
) -> None:
    """Run the trial of `point` and report how it ended; report each epoch too if it is `compared`.

    A point has the "fingerprint" of a trial, the "trial" as JSON, its share of a GPU ("gpus"), and whether it can get
    more ("grow").
    A trial that fails is reported, not raised: its record holds the error, and Tune would only retry what fails again
    in the same way. Tune sees a failure only if a process or a node died. So a process whose GPU broke reports the
    reason and exits, and so does a process on a GPU that is `avoided` (by node and number).
    If a node has other versions than the driver, nothing is computed and the trial ends as "misplaced".
    """
    _freeze_imports()
    fingerprint = point["fingerprint"]
    if point["gpus"] and place.workers == 1:
        gpu = ",".join(map(str, ray.get_gpu_ids()))
        avoid = avoided(ray.get_runtime_context().get_node_id(), gpu)
        tune.report({"fingerprint": fingerprint, "gpu": gpu, "avoided": avoid})
        if avoid:
            os._exit(1)  # not return: Tune would keep the process, and the GPU with it, for another trial

    def judge(metrics: Mapping[str, float], epoch: int) -> str:
        assert compared is not None
        tune.report(  # returns once Tune has judged it
            {"fingerprint": fingerprint, "epoch": epoch, compared.metric: metrics[compared.metric]}
        )
        return compared.rule if compared.stopped_early(fingerprint) else ""

    try:
        why = misplaced(drivers_versions)  # nodes may join at any time, so a check before the sweep would miss some
        if why:
            raise MisplacedError(why)
        trial = Trial.model_validate_json(point["trial"])
        if place.workers > 1:
            tune.report({"fingerprint": fingerprint, "nodes": ",".join(nodes())})
        here = replace(place, gpus=point["gpus"], grow=point["grow"])
        with ray_workers(here, drivers_versions) as led:
            outcome = run(trial, led, _now_and_then(stop), judge if compared else None)
    except MisplacedError as error:
        outcome = TrialOutcome("misplaced", str(error))
    if outcome.end == "broken":
        tune.report({"fingerprint": fingerprint, "broken": outcome.error})
        os._exit(1)  # this process can no longer use its GPU
    tune.report({"fingerprint": fingerprint, "end": outcome.end, "error": outcome.error, "epoch": outcome.epoch})


@cache
def _freeze_imports() -> None:
    """Exempt what is imported from garbage collection: Ray collects every few seconds, which took 2 % of a worker."""
    gc.freeze()


def _now_and_then(stop: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that calls `stop` at most once in `ASK_SECONDS`, and returns False in between."""
    asked = -ASK_SECONDS

    def ask() -> bool:
        nonlocal asked
        if time.monotonic() - asked < ASK_SECONDS:
            return False
        asked = time.monotonic()
        return stop()

    return ask
