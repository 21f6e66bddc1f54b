"""Interface of methods that prune during training, and the check of their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from pruners import lookup
from search_spaces import SpaceError, Trial

Masks = Mapping[str, Tensor]


class Dynamics(Protocol):
    """Method that changes masks while weights train.

    It holds no state: its result depends only on the step and its arguments, and everything random is drawn from
    generators of the trial's seed named by the step. So a checkpoint must hold only the masks.
    """

    @property
    def compression(self) -> float:
        """Return the compression of the masks to start from."""
        ...

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the new masks after optimizer step `step` (from 1), None if they do not change.

        Gradients are those of the step, at the weights before it. Pruned weights have gradients too.
        """
        ...


def options(trial: Trial) -> dict[str, Any]:
    """Return the trial's options, with the pruner's defaults.

    Raises:
        SpaceError: if an option is not a fraction from 0 to 1 or, if it is the interval, not at least 1 step.
    """
    pruner = lookup(trial.pruner)
    chosen = pruner.recorded(trial.options)
    for name, value in chosen.items():
        low, high = (1, float("inf")) if name == "interval" else (0, 1)
        if not low <= value <= high:
            allowed = "at least 1 step" if name == "interval" else "a fraction from 0 to 1"
            raise SpaceError(f"pruner {trial.pruner}: {name}: {value} is not allowed; it must be {allowed}")
    return chosen
