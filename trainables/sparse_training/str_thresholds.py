"""STR: soft thresholds, one learned for each layer, decide which weights the forward pass sees."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners import select
from search_spaces import Trial
from search_spaces.density import density_of
from trainables.sparse_training.base import Latent, Masks, options, plain_weights


class SoftThresholds(Latent):
    """Method that shows sign(w) max(|w| - sigmoid(s), 0) to the forward pass (Kusupati et al. 2020, equations 3 to 6).

    The optimizer learns s, and its weight decay moves s towards zero, which raises the thresholds. After step `end`
    the thresholds no longer count: the n weights that exceed them most, or fall least short of them, are kept with the
    values that the forward pass saw, and train on in masks.
    """

    compression = 1.0  # it starts dense

    def __init__(self, trial: Trial, end: int, initial: float) -> None:
        self._density, self._scope = density_of(trial.compression), trial.scope
        self._end, self._initial = end, initial

    @torch.no_grad()
    def start(self, model: nn.Module, masks: Masks) -> None:
        """Make a threshold for each layer, in the type of its weight."""
        weights = plain_weights(model)
        self._s = {
            name: nn.Parameter(torch.full_like(weight[:1].flatten()[:1], self._initial))
            for name, weight in weights.items()
        }
        self._on = {name: torch.ones_like(s) for name, s in self._s.items()}  # 0 after the end
        self.learned = list(self._s.values())
        self.tensors = {f"s/{name}": s for name, s in self._s.items()} | {f"on/{n}": on for n, on in self._on.items()}

    @torch.no_grad()
    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the masks after step `end`; None after any other."""
        if step != self._end:
            return None
        weights = dict(plain_weights(model))
        excess = {name: weight.abs() - self._threshold(name) for name, weight in weights.items()}
        chosen = select(excess, self._density, scope=self._scope)
        self.show(weights)
        for on in self._on.values():
            on.zero_()
        return chosen

    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Move every weight towards zero by its layer's threshold, and not beyond."""
        for name in self._s:
            weight = weights[name]
            weight.copy_(weight.sign() * (weight.abs() - self._threshold(name)).relu())

    def pull_back(self, weights: Mapping[str, Tensor]) -> None:
        """Keep the gradients of the weights above their threshold; sum these for the gradient of s."""
        for name, s in self._s.items():
            weight, threshold = weights[name], self._threshold(name)
            slope = weight.grad
            if slope is None:
                s.grad = torch.zeros_like(s)
                continue
            # After the end all weights get gradients, those at zero too: the masks decide.
            seen = (weight.abs() > threshold) | (self._on[name] == 0)
            slope.mul_(seen)
            s.grad = -(slope * weight.sign()).sum() * threshold * (1 - s.sigmoid())

    def _threshold(self, name: str) -> Tensor:
        return self._s[name].detach().sigmoid() * self._on[name]


def str_(trial: Trial, steps: int, steps_per_epoch: int) -> SoftThresholds:
    """Return STR, whose thresholds start at sigmoid(`initial`) and decide until the fraction `end` of training."""
    chosen = options(trial)
    return SoftThresholds(trial, max(1, round(chosen["end"] * steps)), chosen["initial"])
