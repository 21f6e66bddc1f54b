"""Batch norms folded into the layers before them, where a network is only evaluated."""

from __future__ import annotations

import copy

from torch import nn

from pruners.channels import Layer, Norm, UnfollowableError, follow

Pair = tuple[str, str]  # names of a layer and of the batch norm that reads it


def foldable(model: nn.Module) -> list[Pair]:
    """The batch norms of `model` that alone read a layer which is used once; none if it cannot be followed."""
    try:
        steps = follow(model).steps
    except UnfollowableError:
        return []
    names = {module: name for name, module in model.named_modules()}
    made = {step.name: step for step in steps}
    read = [source for step in steps for source in step.sources]
    used = [step.module for step in steps]
    pairs = []
    for step in steps:
        if not isinstance(step.module, Norm) or step.module.running_mean is None:
            continue
        (source,) = step.sources
        layer = made[source].module
        if isinstance(layer, Layer) and read.count(source) == used.count(layer) == used.count(step.module) == 1:
            pairs.append((names[layer], names[step.module]))
    return pairs


def folded(model: nn.Module, pairs: list[Pair]) -> nn.Module:
    """A copy of `model` in eval mode that computes the same, but for rounding, without the batch norms of `pairs`."""
    if not pairs:
        return model.eval()
    result = copy.deepcopy(model).eval()
    for of_layer, of_norm in pairs:
        layer, norm = result.get_submodule(of_layer), result.get_submodule(of_norm)
        assert isinstance(layer, Layer) and isinstance(norm, Norm)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach()
        shift = -norm.running_mean if layer.bias is None else layer.bias.detach() - norm.running_mean
        shift = shift * scale if norm.bias is None else shift * scale + norm.bias.detach()
        layer.weight.data.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias = nn.Parameter(shift, requires_grad=False)
        owner, _, key = of_norm.rpartition(".")
        setattr(result.get_submodule(owner), key, nn.Identity())
    return result
