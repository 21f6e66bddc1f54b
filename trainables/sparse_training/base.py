"""Base class of methods that prune during training, and the check of their options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruners import PruningError, lookup, prunable
from pruners.reparametrised import length_of
from search_spaces import SpaceError, Trial

Masks = Mapping[str, Tensor]
COUNTS = {"interval": "at least 1 step", "spread": "at least 1"}  # options that are no fraction from 0 to 1


class Dynamics(ABC):
    """Method that changes masks while weights train.

    Its result depends only on the step, its arguments and its `tensors`, which checkpoints hold beside the masks.
    Everything random is drawn from generators of the trial's seed named by the step.
    """

    compression: float  # of the masks to start from

    @abstractmethod
    def update(self, step: int, masks: Masks, model: nn.Module) -> dict[str, Tensor] | None:
        """Return the new masks after optimizer step `step` (from 1), None if they do not change.

        Gradients are those of the step, at the weights before it. Pruned weights have gradients too.
        """

    def woken(self, old: Masks, new: Masks) -> Masks:
        """Return, for each weight, True if an update lets it move again: its moments are set to zero."""
        return {name: mask & ~old[name] for name, mask in new.items()}


class Latent(Dynamics):
    """Method whose forward passes see other weights than those that the optimizer updates.

    `start` makes its `tensors` and `learned` parameters. Later changes to them are in place, because a CUDA graph reads
    this memory.
    """

    tensors: dict[str, Tensor]  # saved in checkpoints
    learned: list[nn.Parameter]  # further parameters for the optimizer, which `tensors` hold too
    keeps_pruned = False  # weights that the masks prune keep their values until training ends

    @abstractmethod
    def start(self, model: nn.Module, masks: Masks) -> None:
        """Prepare a training from the weights of `model`."""

    @abstractmethod
    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Put what the forward pass sees, for the current weights, in the place of `weights`."""

    @abstractmethod
    def pull_back(self, weights: Mapping[str, Tensor]) -> None:
        """Turn the gradients of what the forward pass saw into those of `weights` and of the `learned` parameters."""

    def hold(self, weights: Mapping[str, Tensor]) -> None:
        """Correct the weights after an optimizer step."""

    @torch.no_grad()
    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Continue from the `tensors` of a checkpoint."""
        for name, tensor in self.tensors.items():
            tensor.copy_(saved[name])


def plain_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the prunable parameters of `model`, for a method that shows other weights to the forward pass.

    Raises:
        PruningError: if the network computes a weight from others (weight_norm), whose zeros would not be its zeros.
    """
    for name in prunable(model):
        path, _, key = name.rpartition(".")
        if length_of(model.get_submodule(path), key):
            raise PruningError(f"This pruner cannot train {name!r}, which is a direction under weight_norm.")
    parameters = dict(model.named_parameters())
    return {name: parameters[name] for name in prunable(model)}


def options(trial: Trial) -> dict[str, Any]:
    """Return the trial's options, with the pruner's defaults.

    Raises:
        SpaceError: if a number is not a fraction from 0 to 1 or, if it is one of `COUNTS`, below 1. Numbers for which
            the pruner gives a least value are checked there.
    """
    pruner = lookup(trial.pruner)
    chosen = pruner.recorded(trial.options)
    for name, value in chosen.items():
        if isinstance(value, str) or name in pruner.least:
            continue
        low, high = (1, float("inf")) if name in COUNTS else (0, 1)
        if not low <= value <= high:
            allowed = COUNTS.get(name, "a fraction from 0 to 1")
            raise SpaceError(f"pruner {trial.pruner}: {name}: {value} is not allowed; it must be {allowed}")
    return chosen


def cycle(trial: Trial, steps_per_epoch: int) -> int:
    """Return the steps between two updates: `interval`, or an epoch if that is shorter.

    Otherwise nothing would ever be updated on small data.
    """
    return int(min(options(trial)["interval"], steps_per_epoch))
