"""Constant channels of a masked network, and the values that they hold."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Norm, PrunableLayer, Step, widen

Connected = Mapping[nn.Module, Tensor]  # layer -> bool (O, I / G): True if the output channel reads the input channel


def connections(channels: Channels, masks: Mapping[nn.Module, Tensor]) -> Connected:
    """Return which channels the masked layers connect; `masks` holds each layer's mask, of its weight's shape."""
    return {
        layer: masks[layer].flatten(2).any(2) if masks[layer].dim() > 2 else masks[layer]
        for layer in channels.inputs
        if layer in masks
    }


def constants(
    channels: Channels, connected: Connected, settle: Callable[[Step, Tensor], Tensor] = lambda step, value: value
) -> dict[str, Tensor]:
    """Return, per result, (2, C): each channel's constant value in eval mode and in train mode, NaN if it varies.

    Arithmetic propagates NaN, so that activations and sums can be computed as they are. `settle` may change the values
    of a step before other steps read them.
    """
    values: dict[str, Tensor] = {}
    for step in channels.steps:
        read = [values[source] for source in step.sources]
        if step.kind == "pointwise":
            assert step.apply is not None
            values[step.name] = step.apply(*(value.clone() for value in read))
        elif step.kind == "layer":
            values[step.name] = _of_layer(step.module, read[0], connected)
        elif step.kind == "norm":
            values[step.name] = _of_norm(step.module, read[0])
        elif step.kind == "join":
            values[step.name] = torch.cat(read, dim=1)
        elif step.kind == "pool":
            values[step.name] = torch.where(read[0] == 0, 0.0, torch.nan)  # padding and scaling keep only zeros
        elif step.kind in ("input", "mix"):
            values[step.name] = torch.full((2, len(channels.groups[step.name])), torch.nan, dtype=torch.float64)
        if step.name in values:
            values[step.name] = settle(step, values[step.name])
    return values


def _of_layer(layer: nn.Module | None, value: Tensor, connected: Connected) -> Tensor:
    assert isinstance(layer, PrunableLayer)
    reached = links(layer, value, connected).flatten(0, 1).any(1)
    bias = torch.zeros(len(reached)) if layer.bias is None else layer.bias.detach().cpu()
    return torch.where(reached, torch.nan, bias.double()).expand(2, -1)


def _of_norm(norm: nn.Module | None, value: Tensor) -> Tensor:
    assert isinstance(norm, Norm)
    value = widen(value, norm.num_features)
    scale = 1.0 if norm.weight is None else norm.weight.detach().cpu().double()
    shift = 0.0 if norm.bias is None else norm.bias.detach().cpu().double()
    train = value[1] * 0 + shift  # a constant is its own mean
    if norm.running_mean is None or norm.running_var is None:
        return torch.stack([train, train])
    mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
    return torch.stack([(value[0] - mean) / (variance + norm.eps).sqrt() * scale + shift, train])


def links(layer: PrunableLayer, value: Tensor, connected: Connected) -> Tensor:
    """Return bool (G, O / G, I / G): True if the output channel reads the input channel and that is not zero."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    width = layer.weight.shape[1]
    present = (widen(value, width * groups) != 0).any(0).view(groups, 1, width)
    if layer not in connected:
        return present.expand(-1, layer.weight.shape[0] // groups, -1)
    return connected[layer].cpu().view(groups, -1, width) & present
