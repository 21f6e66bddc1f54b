"""Top-KAST: forward passes see the largest weights, and gradients reach some more."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners import prunable, select
from search_spaces import Trial
from search_spaces.density import Density, density_of, fraction_of
from trainables.sparse_training.base import Latent, Masks, cycle, options, plain_weights


class TopKast(Latent):
    """Method that keeps pruned weights: those of the backward set train on, the others rest until they return.

    The masks are the forward sets A. The backward sets B hold `spread` times as many weights, A included. The penalty
    of the weight decay is larger on B without A, by 1 / density (Jayakumar et al. 2020, section 2.3).
    """

    keeps_pruned = True

    def __init__(self, trial: Trial, interval: int, spread: float) -> None:
        self.compression = trial.compression
        self.density = density_of(trial.compression)
        self._scope, self._interval, self._spread, self._decay = trial.scope, interval, spread, trial.weight_decay
        self.learned = []

    @torch.no_grad()
    def start(self, model: nn.Module, masks: Masks) -> None:
        """Choose the first backward sets; what lies outside of them rests."""
        weights = plain_weights(model)
        self._woken: dict[str, Tensor] = {}
        self._forward = {name: mask.clone() for name, mask in masks.items()}
        self._backward = self._backward_sets(weights, masks)
        self._resting = {name: weight.detach().clone() for name, weight in weights.items()}
        self.tensors = {f"backward/{name}": mask for name, mask in self._backward.items()}
        self.tensors |= {f"forward/{name}": mask for name, mask in self._forward.items()}
        self.tensors |= {f"resting/{name}": weight for name, weight in self._resting.items()}

    @torch.no_grad()
    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the forward sets of the current weights every `interval` steps."""
        if step % self._interval:
            return None
        weights = prunable(model)
        forward = self._sets(weights, self.density)
        backward = self._backward_sets(weights, forward)
        self._woken = {name: mask & ~self._backward[name] for name, mask in backward.items()}
        for name, weight in weights.items():
            self._forward[name].copy_(forward[name])
            self._backward[name].copy_(backward[name])
            self._resting[name].copy_(weight)
        return forward

    def woken(self, old: Masks, new: Masks) -> Masks:
        """Return the weights that enter the backward sets."""
        return self._woken

    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Set all weights to zero but those of the forward sets."""
        for name, mask in self._forward.items():
            weights[name].mul_(mask)

    def pull_back(self, weights: Mapping[str, Tensor]) -> None:
        """Add the part of the penalty that the optimizer's weight decay does not have."""
        more = self._decay * (1 / float(self.density) - 1)
        for name, mask in self._forward.items():
            if (slope := weights[name].grad) is not None:
                slope.add_(weights[name] * ~mask, alpha=more)

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Leave the weights outside of the backward sets as they were at the last update."""
        for name, mask in self._backward.items():
            torch.where(mask, weights[name], self._resting[name], out=weights[name])

    def _backward_sets(self, weights: Mapping[str, Tensor], forward: Masks) -> dict[str, Tensor]:
        wider = self._sets(weights, min(fraction_of(self.density) * fraction_of(self._spread), fraction_of(1)))
        return {name: mask | forward[name] for name, mask in wider.items()}

    def _sets(self, weights: Mapping[str, Tensor], density: Density) -> dict[str, Tensor]:
        return select({name: weight.detach().abs() for name, weight in weights.items()}, density, scope=self._scope)


def top_kast(trial: Trial, steps: int, steps_per_epoch: int) -> TopKast:
    """Return Top-KAST (Jayakumar et al. 2020), which chooses its sets anew every `interval` steps, to the end."""
    return TopKast(trial, cycle(trial, steps_per_epoch), options(trial)["spread"])
