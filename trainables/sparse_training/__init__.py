"""Methods that prune during training. To add one, write its file, two lines here, and its entry among the pruners."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces import Trial
from trainables.sparse_training.ac_dc import ac_dc
from trainables.sparse_training.base import Dynamics, Latent
from trainables.sparse_training.gra_net import gra_net
from trainables.sparse_training.gradual import gradual
from trainables.sparse_training.learned_scores import edge_popup, movement
from trainables.sparse_training.set_rigl import rigl, set_
from trainables.sparse_training.srigl import srigl
from trainables.sparse_training.str_thresholds import str_
from trainables.sparse_training.top_kast import top_kast

DYNAMICS: dict[str, Callable[[Trial, int, int], Dynamics]] = {
    "gradual": gradual,
    "set": set_,
    "rigl": rigl,
    "srigl": srigl,
    "gra-net": gra_net,
    "ac-dc": ac_dc,
    "str": str_,
    "top-kast": top_kast,
    "movement": movement,
    "edge-popup": edge_popup,
}


def dynamics(trial: Trial, steps_per_epoch: int) -> Dynamics | None:
    """Return the method that changes the masks of `trial` while it trains; None if they do not change.

    Raises:
        SpaceError: if the method's options contradict each other, in one sentence.
    """
    make = DYNAMICS.get(trial.pruner)
    return None if make is None or trial.mask else make(trial, trial.epochs * steps_per_epoch, steps_per_epoch)


__all__ = ["DYNAMICS", "Dynamics", "Latent", "dynamics"]
