"""Structured dynamic sparse training: every neuron keeps as many inputs as the others, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners import prunable
from search_spaces import Trial
from search_spaces.density import fraction_of
from trainables.sparse_training.base import Masks, cycle, options
from trainables.sparse_training.set_rigl import Regrowth, gradient_merits, highest, random_merits


@dataclass(frozen=True)
class ConstantFanIn(Regrowth):
    """Method that exchanges weights so that the neurons of a layer, its output channels, have the same fan-in.

    Neurons with few salient weights are ablated; the others share the layer's weights (Lasby et al. 2024, section 3.2).
    """

    salient: float = 0.3

    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return masks with as many True in each layer as before; None if they do not change."""
        fraction = self.fraction(step)
        if fraction == 0:
            return None
        merits, weights = self.merits(step, model), prunable(model)
        *_, last = masks  # its neurons are the classes
        return {
            name: exchange_fan_in(
                mask, weights[name].detach(), merits[name], fraction, 0.0 if name == last else self.salient
            )
            for name, mask in masks.items()
        }


def exchange_fan_in(mask: Tensor, weight: Tensor, merit: Tensor, fraction: float, salient: float) -> Tensor:
    """Return a mask of the same count whose rows, but for ablated ones, keep the same number of weights, or one more.

    A weight is salient if it is among those that the layer would keep when the smallest `fraction` is dropped, or among
    as many of the highest merit. A row is ablated if it has fewer salient weights than the fraction `salient` of the
    fan-in, and than one, unless too few rows would be left to hold the weights. Rows with more salient weights are
    those with one weight more. `salient=0` ablates none.
    """
    if bool(mask.all()):
        return mask
    count, rows = int(mask.count_nonzero()), len(mask)
    leaving = math.floor(fraction_of(fraction) * count)
    size = weight.abs().masked_fill(~mask, -1)
    vital = (highest(size, count - leaving) | highest(merit, leaving)).flatten(1).sum(1)
    alive = torch.ones_like(vital, dtype=torch.bool)
    if salient and count:
        room = mask[0].numel()
        least = max(1, int(salient * (count // rows)))
        fewest = math.ceil(count / room)  # rows that can hold the weights
        alive = vital >= min(least, int(vital.sort(descending=True).values[fewest - 1]))
    size = size.flatten(1).masked_fill(~alive[:, None], -2)
    kept = highest(size, count - leaving) & alive[:, None] & mask.flatten(1)
    by_merit = merit.flatten(1).argsort(dim=1, descending=True, stable=True)
    first = size.masked_fill(~kept, -1).gather(1, by_merit).argsort(dim=1, descending=True, stable=True)
    order = by_merit.gather(1, first)  # kept weights by their size, then the others by their merit
    quota = _quotas(vital.masked_fill(~alive, -1), alive, count)
    chosen = torch.arange(order.shape[1], device=order.device) < quota[:, None]
    return torch.zeros_like(kept).scatter_(1, order, chosen).view(mask.shape)


def _quotas(vital: Tensor, alive: Tensor, count: int) -> Tensor:
    """Return how many weights each row keeps: `count` in all, shared evenly by those that are alive."""
    even, left = divmod(count, max(1, int(alive.sum())))
    return even * alive + highest(vital, left)


def srigl(trial: Trial, steps: int, steps_per_epoch: int) -> ConstantFanIn:
    """Return SRigL (Lasby et al. 2024); with `growth: random` structured SET."""
    chosen = options(trial)
    merits = gradient_merits if chosen["growth"] == "gradient" else random_merits(trial)
    end = round(chosen["end"] * steps)
    return ConstantFanIn(
        trial.compression, cycle(trial, steps_per_epoch), end, chosen["drop"], merits, salient=chosen["salient"]
    )
