"""Dynamic sparse training: weights are dropped and as many others grown, so the density never changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners import prunable
from search_spaces import Trial
from search_spaces.density import fraction_of
from trainables.randomness import generator
from trainables.sparse_training.base import Masks, options

Merits = Callable[[int, nn.Module], dict[str, Tensor]]  # step, model -> a score for growing each weight


@dataclass(frozen=True)
class Regrowth:
    """Every `interval` steps before step `end`, in every layer: the smallest weights for those of highest merit.

    Starts from random masks of the trial's compression. A share `drop` of the weights goes at first, falling to
    none by a cosine.
    """

    compression: float
    interval: int
    end: int
    drop: float
    merits: Merits
    at_start: bool = False  # in the first step too

    def fraction(self, step: int) -> float:
        """Of the kept weights, dropped after `step` (Evci et al. 2020, section 3, the update schedule)."""
        if self.at_start and step == 1 < self.end:
            return self.drop
        due = step % self.interval == 0 and step < self.end
        return self.drop / 2 * (1 + math.cos(math.pi * step / self.end)) if due else 0.0

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Masks with as many True in each layer as before."""
        fraction = self.fraction(step)
        if fraction == 0:
            return None
        merits = self.merits(step, model)
        weights = prunable(model)
        return {name: exchange(mask, weights[name].detach(), merits[name], fraction) for name, mask in masks.items()}


def exchange(mask: Tensor, weight: Tensor, merit: Tensor, fraction: float) -> Tensor:
    """The smallest `fraction` of the weights in `mask` dropped, as many of the highest merit grown instead.

    A weight that was just dropped may be grown again (Evci et al. 2020, algorithm 1): it then was never away.
    """
    count = int(mask.count_nonzero())
    leaving = math.floor(fraction_of(fraction) * count)
    staying = _highest(weight.abs().masked_fill(~mask, -1), count - leaving)
    return staying | _highest(merit.masked_fill(staying, -math.inf), leaving)


def _highest(scores: Tensor, count: int) -> Tensor:
    """The `count` highest of a tensor as a mask; of equal ones the earlier."""
    order = scores.flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view(scores.shape)


def set_(trial: Trial, steps: int, steps_per_epoch: int) -> Regrowth:
    """SET: weights are grown at random (Mocanu et al. 2018, algorithm 1). They start at zero, as in RigL."""

    def chance(step: int, model: nn.Module) -> dict[str, Tensor]:
        draws = generator(trial.seed, "grow", step)  # on the CPU: the same on every device
        return {name: torch.rand(w.shape, generator=draws).to(w.device) for name, w in prunable(model).items()}

    return _regrowth(trial, steps, steps_per_epoch, chance)


def rigl(trial: Trial, steps: int, steps_per_epoch: int) -> Regrowth:
    """RigL: those weights are grown whose gradient is largest (Evci et al. 2020, algorithm 1).

    The gradient is that of the step, which is made. With `at_start` the first update is in step 1. What the authors'
    program does otherwise stands in docs/names.md.
    """
    return _regrowth(trial, steps, steps_per_epoch, _slopes)


def _slopes(step: int, model: nn.Module) -> dict[str, Tensor]:
    return {n: torch.zeros_like(w) if w.grad is None else w.grad.abs() for n, w in prunable(model).items()}


def _regrowth(trial: Trial, steps: int, steps_per_epoch: int, merits: Merits) -> Regrowth:
    chosen = options(trial)
    # Once an epoch where an epoch is shorter than the interval: on small data nothing would ever be grown.
    interval = min(chosen["interval"], steps_per_epoch)
    return Regrowth(
        trial.compression, interval, round(chosen["end"] * steps), chosen["drop"], merits, chosen.get("at_start", False)
    )
