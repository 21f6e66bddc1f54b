"""What a method that prunes during training is, and the options of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from pruners import lookup
from search_spaces import SpaceError, Trial

Masks = Mapping[str, Tensor]


class Dynamics(Protocol):
    """Masks that change while weights train.

    It holds no state: what it does depends on the step and on what it is given, and all that is random is drawn
    from generators of the trial's seed named by the step. So the masks are all that a checkpoint must hold.
    """

    @property
    def compression(self) -> float:
        """Of the masks to start from."""
        ...

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """The new masks after optimizer step `step` (from 1), None where they stay.

        Gradients are those of the step, at the weights before it; those of pruned weights are there too.
        """
        ...


def options(trial: Trial) -> dict[str, Any]:
    """The trial's options, with the pruner's defaults.

    Raises:
        SpaceError: if an option is not the fraction or the count that it must be.
    """
    pruner = lookup(trial.pruner)
    chosen = pruner.recorded(trial.options)
    for name, value in chosen.items():
        low, high = (1, float("inf")) if name == "interval" else (0, 1)
        if not low <= value <= high:
            allowed = "at least 1 step" if name == "interval" else "a fraction from 0 to 1"
            raise SpaceError(f"pruner {trial.pruner}: {name}: {value} is not allowed; it must be {allowed}")
    return chosen
