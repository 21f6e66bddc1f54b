"""AC/DC: training alternates between phases in which the network is dense and phases in which it is compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners import prunable, select
from search_spaces import SpaceError, Trial
from search_spaces.density import Density, density_of
from trainables.sparse_training.base import Dynamics, Masks, options


@dataclass(frozen=True)
class Alternation(Dynamics):
    """Method that prunes the smallest weights at some steps, and lets them move again, from zero, at others."""

    compressed_after: Mapping[int, bool]  # step -> True: a compressed phase follows it
    density: Density
    scope: str
    compression: float = 1.0  # it starts dense

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the masks of the phase that begins after `step`; None if none begins."""
        if step not in self.compressed_after:
            return None
        sizes = {name: weight.detach().abs() for name, weight in prunable(model).items()}
        if self.compressed_after[step]:
            return select(sizes, self.density, scope=self.scope)
        return {name: torch.ones_like(size, dtype=torch.bool) for name, size in sizes.items()}


def ac_dc(trial: Trial, steps: int, steps_per_epoch: int) -> Alternation:
    """Return AC/DC (Peste et al. 2021, algorithm 1): the first phase, of `warmup`, is dense, the last one compressed.

    `warmup`, `phase` and `last` are fractions of all `steps`. Phases that do not fit before the last one are left out;
    it follows a dense phase, or the warm-up.

    Raises:
        SpaceError: if the warm-up and the last phase take more than the whole training.
    """
    chosen = options(trial)
    warmup, phase, last = chosen["warmup"], chosen["phase"], chosen["last"]
    if warmup + last > 1:
        raise SpaceError(f"pruner ac-dc: last: {last} is not allowed; with warmup: {warmup} it must be at most 1")
    if phase == 0:
        raise SpaceError("pruner ac-dc: phase: 0 is not allowed; it must be more")
    pairs = int((1 - last - warmup) / (2 * phase) + 1e-9)  # of a compressed and a dense phase
    at = [warmup + number * phase for number in range(2 * pairs)] + [1 - last if pairs else warmup]
    phases = {max(1, round(share * steps)): number % 2 == 0 for number, share in enumerate(at)}
    return Alternation(phases, density_of(trial.compression), trial.scope)
