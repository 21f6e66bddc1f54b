"""A trial as a Ray Tune function trainable. The only file of this folder that knows Ray."""

from __future__ import annotations

from typing import Any

from ray import tune

from search_spaces import Trial
from trainables.run import Place, run


def ray_trial(config: dict[str, Any], place: Place) -> None:
    """Run `config["point"]["trial"]` (a Trial as JSON) and report how it ended.

    A trial that fails is reported, not raised: its record holds the error, and Tune would only retry what
    fails again in the same way. What Tune sees as a failure is a process or a node that died.
    """
    outcome = run(Trial.model_validate_json(config["point"]["trial"]), place)
    tune.report({"end": outcome.end, "error": outcome.error})
