"""GraNet: gradual pruning in which each step also exchanges the smallest weights for those of large gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from pruners import prunable, select
from search_spaces import Trial
from search_spaces.density import Density, density_of
from trainables.sparse_training.base import Dynamics, Masks, cycle, options
from trainables.sparse_training.set_rigl import exchange_count, gradient_merits

LEAST = 0.005  # the fraction exchanged at the end of training, in the authors' program


@dataclass(frozen=True)
class Neuroregeneration(Dynamics):
    """Method that prunes by magnitude to a density that falls by a cubic, then drops and grows weights in each layer.

    Updates are every `interval` steps. The density of `compression` falls to `density` in update number `last`.
    """

    compression: float
    density: Density
    scope: str
    interval: int
    last: int
    steps: int
    drop: float

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the masks after a pruning, the last one in update `last`, and an exchange, which never ends."""
        if step % self.interval:
            return None
        weights = {name: weight.detach() for name, weight in prunable(model).items()}
        number, masks = step // self.interval, dict(masks)
        if number <= self.last:
            masks = select(
                {name: weight.abs() for name, weight in weights.items()}, self.after(number), masks, self.scope
            )
        merits, fraction = gradient_merits(step, model), self.fraction(step)
        return {
            name: exchange_count(mask, weights[name], merits[name], math.ceil(fraction * int(mask.count_nonzero())))
            for name, mask in masks.items()
        }

    def after(self, number: int) -> Density:
        """Return the density after update `number` (Liu et al. 2021, equation 1); the last one is exact."""
        if number == self.last:
            return self.density
        start, end = 1 / self.compression, float(self.density)
        return end + (start - end) * (1 - number / self.last) ** 3

    def fraction(self, step: int) -> float:
        """Return the fraction of each layer's weights to exchange after `step`: it falls by a cosine to `LEAST`."""
        low = min(LEAST, self.drop)
        return low + (self.drop - low) * (1 + math.cos(math.pi * step / self.steps)) / 2


def gra_net(trial: Trial, steps: int, steps_per_epoch: int) -> Neuroregeneration:
    """Return GraNet, which starts at the density `initial` and prunes until the fraction `end` of training.

    Weights compete over all layers while it prunes, but for the scope "layer". The first masks are random, in the
    trial's scope.
    """
    chosen, interval = options(trial), cycle(trial, steps_per_epoch)
    compression = 1 / chosen["initial"] if chosen["initial"] > trial.density else trial.compression
    scope = "layer" if trial.scope == "layer" else "global"
    last = max(1, round(chosen["end"] * steps) // interval)
    return Neuroregeneration(compression, density_of(trial.compression), scope, interval, last, steps, chosen["drop"])
