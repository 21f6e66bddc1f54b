"""Gradual magnitude pruning: the network is dense at first, and sparser with every update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pruners import densities, prunable, select
from search_spaces import SpaceError, Trial
from search_spaces.density import Density, density_of
from trainables.sparse_training.base import Dynamics, Masks, options


@dataclass(frozen=True)
class Gradual(Dynamics):
    """Method that prunes the smallest weights at some steps, down to the density of that step (fraction kept)."""

    density_after: Mapping[int, Density]
    scope: str
    compression: float = 1.0  # it starts dense

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return masks within `masks`, because pruned weights stay pruned; None if they do not change."""
        if step not in self.density_after:
            return None
        sizes = {name: weight.detach().abs() for name, weight in prunable(model).items()}
        return select(sizes, self.density_after[step], masks, self.scope)


def gradual(trial: Trial, steps: int, steps_per_epoch: int) -> Gradual:
    """Return the method with T = `trial.iterations` updates, evenly from `start` to `end` (fractions of all `steps`).

    The densities are those of the trial's schedule, by default the cubic one (Zhu and Gupta 2017, equation 1). If
    training has fewer steps than updates, several updates coincide.

    Raises:
        SpaceError: if pruning would end before it starts.
    """
    chosen = options(trial)
    start, end = chosen["start"], chosen["end"]
    if start >= end:
        raise SpaceError(f"pruner gradual: start: {start} is not allowed; it must be below end: {end}")
    visited = densities(trial.schedule, density_of(trial.compression), trial.iterations)
    pace = (end - start) / trial.iterations
    return Gradual({max(1, round((start + t * pace) * steps)): d for t, d in enumerate(visited, 1)}, trial.scope)
