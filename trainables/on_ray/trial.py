"""A trial as a Ray Tune function trainable, or several in one."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from pruners import turns
from search_spaces import Trial
from trainables.on_ray.workers import MisplacedError, misplaced, nodes, with_workers
from trainables.packed import together
from trainables.place import Place
from trainables.run import Outcome, run

ASK_SECONDS = 1.0  # between two questions whether to stop; an epoch of a small network is shorter
Point = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """How a trial is compared with others while it trains."""

    metric: str  # of each epoch
    rule: str  # in words
    given_up: Callable[[str], bool]  # of a fingerprint, asked after each report


def ray_trial(
    points: Sequence[Point],
    place: Place,
    stop: Callable[[], bool],
    drivers_versions: Mapping[str, str],
    compared: Compared | None,
    next_after: Callable[[str], Sequence[Point]],
) -> None:
    """Run `points` at once and report how each ended; if they are `compared`, each epoch too.

    A point has the "fingerprint" of a trial, the "trial" as JSON, which share of a GPU it has ("gpus"), and whether it
    can get more ("grow"). `next_after` says who takes the place of one that has ended beside others.
    A trial that fails is reported, not raised: its record holds the error, and Tune would only retry what
    fails again in the same way. What Tune sees as a failure is a process or a node that died.
    On nodes of which one has other versions than the driver's nothing is computed: the end is "misplaced".
    """
    why = misplaced(drivers_versions)  # nodes may join at any time, so whoever is there at first is not all
    if why:
        for point in points:
            _report({"fingerprint": point["fingerprint"], "end": "misplaced", "error": why})
        return
    waiting, lanes = deque(points), len(points)
    place = replace(place, gpus=sum(point["gpus"] for point in points), shared=lanes > 1)

    def do(point: Point) -> Outcome:
        def judge(metrics: Mapping[str, float], epoch: int) -> str:
            assert compared is not None
            reached = {"epoch": epoch, compared.metric: metrics[compared.metric]}
            _report({"fingerprint": point["fingerprint"]} | reached)  # returns once Tune has judged it
            return compared.rule if compared.given_up(point["fingerprint"]) else ""

        trial = Trial.model_validate_json(point["trial"])
        if place.workers > 1:
            _report({"fingerprint": point["fingerprint"], "nodes": ",".join(nodes())})
        try:
            with with_workers(replace(place, grow=point["grow"]), drivers_versions) as led:
                return run(trial, led, _now_and_then(stop), judge if compared else None)
        except MisplacedError as error:
            return Outcome("misplaced", str(error))

    def ended(point: Point, outcome: Outcome) -> None:
        if outcome.end == "broken":
            os._exit(1)  # no trial can go on in this process: each is tried again in one of its own
        fingerprint = point["fingerprint"]
        _report({"fingerprint": fingerprint, "end": outcome.end, "error": outcome.error, "epoch": outcome.epoch})
        if lanes > 1:
            waiting.extend(next_after(fingerprint))

    together(lanes, lambda: waiting.popleft() if waiting else None, do, ended)


_REPORTING = threading.Lock()


def _report(result: dict[str, Any]) -> None:
    """Tell Tune, and wait until it has heard: one thread at a time."""
    with turns.away(), _REPORTING:
        tune.report(result)


def _now_and_then(stop: Callable[[], bool]) -> Callable[[], bool]:
    """`stop`, asked at once and then not more often than it is worth."""
    asked = -ASK_SECONDS

    def ask() -> bool:
        nonlocal asked
        if time.monotonic() - asked < ASK_SECONDS:
            return False
        asked = time.monotonic()
        return stop()

    return ask
