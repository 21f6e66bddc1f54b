"""Which channels a masked network can do without, exactly, in train mode and in eval mode."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruners.channels import Channels, Layer, Norm, Step, widen


def surviving(channels: Channels, masks: Mapping[nn.Module, Tensor]) -> Tensor:
    """One flag per group of channels: True where removing it could change the output.

    `masks` holds a layer's mask, of its weight's shape; layers without one are dense. A channel can go if
    each layer that reads it finds zeros there or has pruned, or has no use for, all that it would do with them.
    Channels of a constant other than zero stay: zero padding makes their effect depend on the position, so that
    no bias could replace them.
    """
    connected = {
        layer: masks[layer].flatten(2).any(2) if masks[layer].dim() > 2 else masks[layer]
        for layer in channels.inputs
        if layer in masks
    }
    values = _values(channels, connected)
    alive = channels.fixed.clone()
    needed = {name: torch.zeros(len(groups), dtype=torch.bool) for name, groups in channels.groups.items()}
    for step in reversed(channels.steps):
        for source, use in zip(step.sources, _uses(step, needed, values, connected), strict=True):
            needed[source] |= use
            if step.kind in ("layer", "output", "mix"):
                alive[channels.groups[source][use]] = True
    for groups in channels.outputs.values():
        if not alive[groups].any():
            alive[groups[0]] = True  # torch has no convolution without channels; one that does nothing will do
    return alive


def _values(channels: Channels, connected: Mapping[nn.Module, Tensor]) -> dict[str, Tensor]:
    """Per result (2, C): the constant that a channel holds in eval mode and in train mode, NaN if it varies.

    Arithmetic carries NaN along, so that activations and sums can be computed as they are.
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
            values[step.name] = torch.where(read[0] == 0, 0.0, torch.nan)  # padding, scaling: only zero is safe
        elif step.kind in ("input", "mix"):
            values[step.name] = torch.full((2, len(channels.groups[step.name])), torch.nan, dtype=torch.float64)
    return values


def _of_layer(layer: nn.Module | None, value: Tensor, connected: Mapping[nn.Module, Tensor]) -> Tensor:
    assert isinstance(layer, Layer)
    reached = _links(layer, value, connected).flatten(0, 1).any(1)
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


def _links(layer: Layer, value: Tensor, connected: Mapping[nn.Module, Tensor]) -> Tensor:
    """(G, O / G, I / G): which output channel reads which input channel that is not zero."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    width = layer.weight.shape[1]
    present = (widen(value, width * groups) != 0).any(0).view(groups, 1, width)
    if layer not in connected:
        return present.expand(-1, layer.weight.shape[0] // groups, -1)
    return connected[layer].cpu().view(groups, -1, width) & present


def _uses(
    step: Step, needed: Mapping[str, Tensor], values: Mapping[str, Tensor], connected: Mapping[nn.Module, Tensor]
) -> list[Tensor]:
    """Per source of a step: which of its channels the step has a use for, given which of its own are needed."""
    if step.kind in ("output", "mix"):
        return [torch.ones_like(needed[source]) for source in step.sources]
    sizes = [len(needed[source]) for source in step.sources]
    wanted = needed.get(step.name, torch.zeros(0, dtype=torch.bool))
    if step.kind == "layer":
        assert isinstance(step.module, Layer)
        links = _links(step.module, values[step.sources[0]], connected)
        read = (links & wanted.view(links.shape[0], -1, 1)).any(1).flatten()
        return [read.view(sizes[0], -1).any(1)]
    if step.kind == "join":
        return list(torch.split(wanted, sizes))
    return [wanted.view(size, -1).any(1) for size in sizes]
