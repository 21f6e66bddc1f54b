"""Dynamic sparse training, SET and RigL: weights are dropped and as many others grown, so the density is constant."""

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
from trainables.sparse_training.base import Dynamics, Masks, cycle, options

Merits = Callable[[int, nn.Module], dict[str, Tensor]]  # step, model -> a score for growing each weight


@dataclass(frozen=True)
class Regrowth(Dynamics):
    """Method that replaces the smallest weights of each layer by those of highest merit.

    It does so every `interval` steps before step `end`. It starts from random masks of the trial's compression. The
    share of weights that it replaces is `drop` at first, and falls to zero by a cosine.
    """

    compression: float
    interval: int
    end: int
    drop: float
    merits: Merits
    at_start: bool = False  # also after the first step

    def fraction(self, step: int) -> float:
        """Return the fraction of kept weights to drop after `step` (Evci et al. 2020, section 3, update schedule)."""
        if self.at_start and step == 1 < self.end:
            return self.drop
        due = step % self.interval == 0 and step < self.end
        return self.drop / 2 * (1 + math.cos(math.pi * step / self.end)) if due else 0.0

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return masks with as many True in each layer as before; None if they do not change."""
        fraction = self.fraction(step)
        if fraction == 0:
            return None
        merits = self.merits(step, model)
        weights = prunable(model)
        return {name: exchange(mask, weights[name].detach(), merits[name], fraction) for name, mask in masks.items()}


def exchange(mask: Tensor, weight: Tensor, merit: Tensor, fraction: float) -> Tensor:
    """Return `mask` with the smallest `fraction` of its weights dropped, and as many of the highest merit grown.

    A weight that was just dropped may be grown again (Evci et al. 2020, algorithm 1): it then stays in the mask.
    """
    return exchange_count(mask, weight, merit, math.floor(fraction_of(fraction) * int(mask.count_nonzero())))


def exchange_count(mask: Tensor, weight: Tensor, merit: Tensor, leaving: int) -> Tensor:
    """Return `mask` with its `leaving` smallest weights dropped, and as many of the highest merit grown."""
    staying = highest(weight.abs().masked_fill(~mask, -1), int(mask.count_nonzero()) - leaving)
    return staying | highest(merit.masked_fill(staying, -math.inf), leaving)


def highest(scores: Tensor, count: int) -> Tensor:
    """Return a mask of the `count` highest values of a tensor; of equal values the earlier ones."""
    order = scores.flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view(scores.shape)


def set_(trial: Trial, steps: int, steps_per_epoch: int) -> Regrowth:
    """Return SET, which grows weights at random (Mocanu et al. 2018, algorithm 1). They start at zero, as in RigL."""
    return _regrowth(trial, steps, steps_per_epoch, random_merits(trial))


def rigl(trial: Trial, steps: int, steps_per_epoch: int) -> Regrowth:
    """Return RigL, which grows the weights with the largest gradients (Evci et al. 2020, algorithm 1).

    The gradient is that of the step, and the optimizer makes that step too. With `at_start` the first update is in
    step 1. docs/names.md says what the authors' program does differently.
    """
    return _regrowth(trial, steps, steps_per_epoch, gradient_merits)


def random_merits(trial: Trial) -> Merits:
    """Return a function that draws a merit in [0, 1) for each weight, by the trial's seed and the step."""

    def chance(step: int, model: nn.Module) -> dict[str, Tensor]:
        draws = generator(trial.seed, "grow", step)  # on the CPU: the same on every device
        return {name: torch.rand(w.shape, generator=draws).to(w.device) for name, w in prunable(model).items()}

    return chance


def gradient_merits(step: int, model: nn.Module) -> dict[str, Tensor]:
    """Return the absolute gradients of the prunable weights."""
    return {n: torch.zeros_like(w) if w.grad is None else w.grad.abs() for n, w in prunable(model).items()}


def _regrowth(trial: Trial, steps: int, steps_per_epoch: int, merits: Merits) -> Regrowth:
    chosen = options(trial)
    interval, end = cycle(trial, steps_per_epoch), round(chosen["end"] * steps)
    return Regrowth(trial.compression, interval, end, chosen["drop"], merits, chosen.get("at_start", False))
