"""Weights under masks while an optimizer moves them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners import masking
from trainables.dynamics import Dynamics


class Masked:
    """Keeps pruned weights at zero after each optimizer step, and lets `dynamics` change what is pruned."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: dict[str, Tensor],
        dynamics: Dynamics | None,
        steps: int,
    ) -> None:
        """`masks` is changed in place as the dynamics wants; `steps` were made so far."""
        self._model, self._optimizer, self._masks, self._dynamics = model, optimizer, masks, dynamics
        self.steps = steps
        self._hold = masking(model, masks)
        self._hold()

    def after_step(self) -> Mapping[str, Tensor]:
        """To be called after each optimizer step, before its gradients are gone; returns the masks if they changed."""
        self.steps += 1
        self._hold()
        if self._dynamics is None:
            return {}
        masks = self._dynamics.update(self.steps, self._masks, self._model)
        if masks is None:
            return {}
        self._forget({name: mask & ~self._masks[name] for name, mask in masks.items()})
        self._masks.update(masks)
        self._hold = masking(self._model, masks)
        self._hold()
        return masks

    def _forget(self, grown: dict[str, Tensor]) -> None:
        """Momentum of grown weights is zero: what it holds was gathered while they could not move."""
        parameters = dict(self._model.named_parameters())
        for name, mask in grown.items():
            for value in self._optimizer.state[parameters[name]].values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value[mask] = 0
