"""Weights under masks while an optimizer moves them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners import masking
from pruners.masks import factor
from trainables.dynamics import Dynamics


class Masked:
    """Keep pruned weights at zero after each optimizer step, and let `dynamics` change what is pruned.

    The factors that weights are multiplied with stay at the same place in memory when masks change: a CUDA graph
    that was captured before goes on with the new ones.
    """

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
        weights = dict(model.named_parameters())
        self._factors = {name: factor(mask, weights[name]) for name, mask in masks.items() if name in weights}
        self.hold = masking(model, masks | self._factors)  # `masking` refuses a mask that names no weight
        self.hold()

    @property
    def changes(self) -> bool:
        """Whether masks may change while weights train."""
        return self._dynamics is not None

    def after_step(self) -> Mapping[str, Tensor]:
        """Count an optimizer step after which pruned weights were held; return the masks if they changed.

        To be called while the step's gradients are there: dynamics may grow weights by them.
        """
        self.steps += 1
        if self._dynamics is None:
            return {}
        masks = self._dynamics.update(self.steps, self._masks, self._model)
        if masks is None:
            return {}
        self._forget({name: mask & ~self._masks[name] for name, mask in masks.items()})
        self._masks.update(masks)
        for name, mask in masks.items():
            self._factors[name].copy_(mask)
        self.hold()
        return masks

    def _forget(self, grown: dict[str, Tensor]) -> None:
        """Momentum of grown weights is zero: what it holds was gathered while they could not move."""
        parameters = dict(self._model.named_parameters())
        for name, mask in grown.items():
            for value in self._optimizer.state[parameters[name]].values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.masked_fill_(mask, 0)
