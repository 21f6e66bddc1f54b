"""A trial as a Ray Tune function trainable. The only file of this folder that knows Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray import tune

from search_spaces import Trial
from trainables.run import Place, run

ASK_SECONDS = 1.0  # between two questions whether to stop; an epoch of a small network is shorter


def ray_trial(config: dict[str, Any], place: Place, stop: Callable[[], bool]) -> None:
    """Run `config["point"]["trial"]` (a Trial as JSON) and report how it ended.

    A trial that fails is reported, not raised: its record holds the error, and Tune would only retry what
    fails again in the same way. What Tune sees as a failure is a process or a node that died.
    `config["point"]` also says which share of a GPU the trial has, and whether it can get more.
    """
    point = config["point"]
    place = replace(place, gpus=point["gpus"], grow=point["grow"])
    outcome = run(Trial.model_validate_json(point["trial"]), place, _now_and_then(stop))
    tune.report({"end": outcome.end, "error": outcome.error})


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
