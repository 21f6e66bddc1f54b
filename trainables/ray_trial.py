"""A trial as a Ray Tune function trainable. The only file of this folder that knows Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import tune

from search_spaces import Trial
from trainables.place import Place
from trainables.run import run
from trainables.versions import unlike, versions

ASK_SECONDS = 1.0  # between two questions whether to stop; an epoch of a small network is shorter


@dataclass(frozen=True)
class Compared:
    """How a trial is compared with others while it trains."""

    metric: str  # of each epoch
    rule: str  # in words
    given_up: Callable[[str], bool]  # of a fingerprint, asked after each report


def ray_trial(
    config: dict[str, Any],
    place: Place,
    stop: Callable[[], bool],
    drivers_versions: Mapping[str, str],
    compared: Compared | None = None,
) -> None:
    """Run `config["point"]["trial"]` (a Trial as JSON) and report how it ended; if it is `compared`, each epoch too.

    A trial that fails is reported, not raised: its record holds the error, and Tune would only retry what
    fails again in the same way. What Tune sees as a failure is a process or a node that died.
    `config["point"]` also says which share of a GPU the trial has, and whether it can get more.
    On a node with other versions than the driver's nothing is computed: the end is "misplaced".
    """
    why = unlike(versions(), drivers_versions)  # nodes may join at any time, so whoever is there at first is not all
    if why is not None:
        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        tune.report({"end": "misplaced", "error": f"Node {node} {why}."})
        return
    point = config["point"]
    place = replace(place, gpus=point["gpus"], grow=point["grow"])

    def judge(metrics: Mapping[str, float], epoch: int) -> str:
        assert compared is not None
        tune.report({"epoch": epoch, compared.metric: metrics[compared.metric]})  # returns once Tune has judged it
        return compared.rule if compared.given_up(point["fingerprint"]) else ""

    trial = Trial.model_validate_json(point["trial"])
    outcome = run(trial, place, _now_and_then(stop), judge if compared else None)
    tune.report({"end": outcome.end, "error": outcome.error, "epoch": outcome.epoch})


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
