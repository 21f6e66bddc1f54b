"""Methods that prune during training. To add one, write its file, two lines here, and its entry among the pruners."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces import Trial
from trainables.sparse_training.base import Dynamics
from trainables.sparse_training.gradual import gradual
from trainables.sparse_training.set_rigl import rigl, set_

DYNAMICS: dict[str, Callable[[Trial, int, int], Dynamics]] = {"gradual": gradual, "set": set_, "rigl": rigl}


def dynamics(trial: Trial, steps_per_epoch: int) -> Dynamics | None:
    """Return the method that changes the masks of `trial` while it trains; None if they do not change.

    Raises:
        SpaceError: if the method's options contradict each other, in one sentence.
    """
    make = DYNAMICS.get(trial.pruner)
    return None if make is None or trial.mask else make(trial, trial.epochs * steps_per_epoch, steps_per_epoch)


__all__ = ["DYNAMICS", "Dynamics", "dynamics"]
