"""Test for a path of kept weights from input to output, by a forward pass of ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def input_reaches_output(
    make: Callable[[], nn.Module], masks: Mapping[str, Tensor], input_shape: tuple[int, ...]
) -> bool | None:
    """Return whether the input reaches the output through kept weights; None if this test does not apply.

    The network that `make` builds gets ones for kept weights, zeros for pruned ones and biases, and norms that pass
    their input on, all in float64. Values cannot cancel, so the output for an image of ones differs from that for a
    black image if and only if a path exists. The test does not apply if the unpruned network shows no path.
    """
    if not _reaches(make(), {}, input_shape):
        return None
    return _reaches(make(), masks, input_shape)


@torch.no_grad()
def _reaches(model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...]) -> bool | None:
    model = model.double().eval()
    for name, parameter in model.named_parameters():
        if name in masks:
            parameter.copy_(masks[name].to(parameter))
        else:
            parameter.fill_(0 if name.endswith("bias") else 1)
    scales: list[Tensor] = []
    pending: list[Tensor] = []

    def scaled(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Divide the output to keep values near one: by its largest for the first image, by the same for the second."""
        if not isinstance(output, Tensor):
            return output
        if not recorded:
            largest = output.abs().max()
            scales.append(torch.where(largest > 0, largest, torch.ones_like(largest)))
            return output / scales[-1]
        return output / pending.pop(0)

    for module in model.modules():
        if "Norm" in type(module).__name__ and not list(module.children()):
            module.register_forward_hook(_passed_on)
        elif any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(scaled)
    recorded = False
    ones = model(torch.ones(1, *input_shape, dtype=torch.float64))
    recorded, pending = True, list(scales)
    zeros = model(torch.zeros(1, *input_shape, dtype=torch.float64))
    if not (ones.isfinite().all() and zeros.isfinite().all()):
        return None
    return bool((ones != zeros).any())


def _passed_on(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    same = isinstance(inputs[0], Tensor) and isinstance(output, Tensor) and inputs[0].shape == output.shape
    return inputs[0] if same else output
