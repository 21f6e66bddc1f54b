"""Use of finished masks: keep pruned weights at zero, and find layers that keep no weight."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pruners.errors import PruningError, require_known
from pruners.reparametrised import length_of

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes per weight -> type


def factor(mask: Tensor, weight: Tensor) -> Tensor:
    """Return a mask as integers of the weight's size, on its device; `masking` multiplies the weight's bits by it.

    The bits are multiplied because 0 * inf and 0 * NaN are NaN, while any bits times 0 are 0.0. `masked_fill` takes
    ten times as long on a CPU.
    """
    return mask.to(weight.device, _INTEGERS[weight.element_size()])


def masking(model: nn.Module, masks: Mapping[str, Tensor]) -> Callable[[], None]:
    """Return a function that zeroes the pruned weights in place, for training to call after each optimizer step.

    Names, shapes and devices are resolved here, once, so that a call is a single fused multiplication. A mask that is
    a `factor` is used without a copy, so that later changes to it take effect. Infinite and NaN weights become zero
    too.

    Under weight_norm, a filter that keeps no weight would have a direction of zeros, which is divided by its length.
    So its direction is left as it is, and its length is kept at zero instead, which makes its weights zero.

    Raises PruningError if a mask names no parameter or has another shape than it.
    """
    parameters = dict(model.named_parameters())
    weights: list[Tensor] = []
    factors: list[Tensor] = []
    directions: list[tuple[Tensor, Tensor, Tensor]] = []
    for name, mask in masks.items():
        require_known("masked parameter", name, parameters)
        weight = parameters[name]
        if weight.shape != mask.shape:
            raise PruningError(
                f"The mask of {name!r} has shape {tuple(mask.shape)}, its parameter {tuple(weight.shape)}."
            )
        path, _, key = name.rpartition(".")
        module = model.get_submodule(path)
        if length := length_of(module, key):
            directions.append((weight, module._parameters[length], factor(mask, weight)))  # type: ignore[arg-type]
        else:
            weights.append(weight)
            factors.append(factor(mask, weight))
    bits = _bits(weights)

    @torch.no_grad()
    def hold() -> None:
        if any(weight.data_ptr() != old.data_ptr() for weight, old in zip(weights, bits, strict=True)):
            bits[:] = _bits(weights)  # the weights have moved to other memory
        if weights:
            torch._foreach_mul_(bits, factors)
        for direction, length, kept in directions:
            alive = kept.sum_to_size(length.shape).bool()
            length.masked_fill_(~alive, 0)
            direction.masked_fill_(~kept.bool() & alive, 0)

    return hold


def _bits(weights: list[Tensor]) -> list[Tensor]:
    """Return views of the weights' memory as integers."""
    return [weight.detach().view(_INTEGERS[weight.element_size()]) for weight in weights]


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights of `model` in place, once; use `masking` in a training loop.

    Raises PruningError if a mask names no parameter or has another shape than it.
    """
    masking(model, masks)()


@torch.no_grad()
def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into the parameters of these names, in place; others stay as they are.

    Raises PruningError if a name is no parameter.
    """
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        require_known("weight to put", name, parameters)
        parameters[name].copy_(weight)


def empty_layers(masks: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the layers that keep no weight; they cut the network unless something bypasses them."""
    return [name for name, mask in masks.items() if not mask.any()]
