"""What is done with finished masks: hold pruned weights at zero, find the layers that died."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pruners.errors import PruningError, require_known


def masking(model: nn.Module, masks: Mapping[str, Tensor]) -> Callable[[], None]:
    """A function that zeroes the pruned weights in place, for training to call after each optimizer step.

    Names, shapes and devices are resolved here, once, so that a call is a single fused multiplication. Ask
    for a new function after replacing parameters or moving the model.
    Raises PruningError if a mask names no parameter or has another shape than it.
    """
    parameters = dict(model.named_parameters())
    weights: list[Tensor] = []
    factors: list[Tensor] = []
    for name, mask in masks.items():
        require_known("masked parameter", name, parameters)
        weight = parameters[name]
        if weight.shape != mask.shape:
            raise PruningError(
                f"The mask of {name!r} has shape {tuple(mask.shape)}, its parameter {tuple(weight.shape)}."
            )
        weights.append(weight)
        factors.append(mask.to(weight))

    @torch.no_grad()
    def hold() -> None:
        if weights:
            torch._foreach_mul_(weights, factors)

    return hold


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights of `model` in place, once; `masking` is the form for a training loop.

    Raises PruningError if a mask names no parameter or has another shape than it.
    """
    masking(model, masks)()


def empty_layers(masks: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers that keep no weight at all: which cuts the network where nothing goes round them."""
    return [name for name, mask in masks.items() if not mask.any()]
