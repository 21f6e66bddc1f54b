"""Movement pruning and edge-popup: scores of the weights are learned, and the forward pass sees the highest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners import select
from search_spaces import SpaceError, Trial
from search_spaces.density import Density, density_of
from trainables.randomness import generator
from trainables.sparse_training.base import Latent, Masks, cycle, options, plain_weights


@dataclass(frozen=True)
class CubicDensity:
    """Density that falls by a cubic from 1 before step `start` to `final` at step `end`."""

    start: int
    end: int
    final: Density

    def after(self, step: int) -> Density:
        """Return the density after `step` (Sanh et al. 2020, equation 2); the final one is exact."""
        if step >= self.end:
            return self.final
        left = min(1.0, 1 - (step - self.start) / (self.end - self.start))
        return float(self.final) + (1 - float(self.final)) * left**3


class LearnedScores(Latent):
    """Method whose optimizer learns a score S for each weight W, of which the forward pass sees W where S is high.

    Masks pass the gradient through as if they were S itself (straight-through): dL/dS = dL/dW' W, W' being what the
    forward pass sees, for pruned weights too. They are chosen anew every `interval` steps.
    """

    keeps_pruned = True

    def __init__(self, trial: Trial, density: CubicDensity, interval: int, frozen: bool) -> None:
        """With `frozen`, weights keep their values, scores begin at random and the highest |S| are seen."""
        self.compression = trial.compression if frozen else 1.0
        self._density, self._interval, self._frozen = density, interval, frozen
        self._scope, self._seed = trial.scope, trial.seed

    @torch.no_grad()
    def start(self, model: nn.Module, masks: Masks) -> None:
        """Make the scores: zero, or uniform within 1 / sqrt(fan-in); then put the masks that they give into `masks`."""
        weights = plain_weights(model)
        self._scores = {name: nn.Parameter(torch.zeros_like(weight)) for name, weight in weights.items()}
        self._fixed = {name: weight.detach().clone() for name, weight in weights.items()} if self._frozen else {}
        if self._frozen:
            for name, score in self._scores.items():
                draw = 2 * torch.rand(score.shape, generator=generator(self._seed, "scores", name)) - 1
                score.copy_(draw / math.sqrt(score[0].numel()))
            for name, mask in self._highest(0).items():
                masks[name].copy_(mask)
        self._masks = {name: mask.clone() for name, mask in masks.items()}
        self.learned = list(self._scores.values())
        self.tensors = {f"score/{name}": score for name, score in self._scores.items()}
        self.tensors |= {f"mask/{name}": mask for name, mask in self._masks.items()}
        self.tensors |= {f"fixed/{name}": weight for name, weight in self._fixed.items()}

    @torch.no_grad()
    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the masks of the current scores every `interval` steps, and at the step that ends the schedule."""
        if step % self._interval and step != self._density.end:
            return None
        found = self._highest(step)
        for name, mask in found.items():
            self._masks[name].copy_(mask)
        return found

    def woken(self, old: Masks, new: Masks) -> Masks:
        """Return {}: the moments of weights that come back were gathered by their own gradients."""
        return {}

    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Set all weights to zero but those with the highest scores."""
        for name, mask in self._masks.items():
            weights[name].mul_(mask)

    def pull_back(self, weights: Mapping[str, Tensor]) -> None:
        """Pass the gradients on to the scores, and to the weights that were seen unless they are frozen."""
        for name, score in self._scores.items():
            slope = weights[name].grad
            if slope is None:
                score.grad = torch.zeros_like(score)
                continue
            score.grad = slope * weights[name] * (score.sign() if self._frozen else 1)
            slope.mul_(0 if self._frozen else self._masks[name])

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Put frozen weights back: the optimizer decays them."""
        for name, weight in self._fixed.items():
            weights[name].copy_(weight)

    def _highest(self, step: int) -> dict[str, Tensor]:
        merits = {
            name: score.detach().abs() if self._frozen else score.detach() for name, score in self._scores.items()
        }
        return select(merits, self._density.after(step), scope=self._scope)


def movement(trial: Trial, steps: int, steps_per_epoch: int) -> LearnedScores:
    """Return movement pruning (Sanh et al. 2020): weights train too, and fewer are seen from `start` to `end`.

    Raises:
        SpaceError: if pruning would end before it starts.
    """
    chosen = options(trial)
    start, end = chosen["start"], chosen["end"]
    if start >= end:
        raise SpaceError(f"pruner movement: start: {start} is not allowed; it must be below end: {end}")
    last = max(1, round(end * steps))
    density = CubicDensity(min(round(start * steps), last - 1), last, density_of(trial.compression))
    return LearnedScores(trial, density, cycle(trial, steps_per_epoch), frozen=False)


def edge_popup(trial: Trial, steps: int, steps_per_epoch: int) -> LearnedScores:
    """Return edge-popup (Ramanujan et al. 2020): weights keep their first values, and only masks are learned."""
    density = CubicDensity(0, 0, density_of(trial.compression))
    return LearnedScores(trial, density, cycle(trial, steps_per_epoch), frozen=True)
