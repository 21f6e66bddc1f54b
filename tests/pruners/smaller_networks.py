"""What tests of smaller networks share: networks as after training, masked, and how far two of them are apart."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pruners import apply_masks, prunable


class Branching(nn.Module):
    """Which way it goes its input decides: torch.fx cannot follow it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


def stirred(model):
    """Batch norm with statistics, scales and shifts as after training, biases too."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0  # another width draws other numbers
    return model


def masked(model, masks):
    model = copy.deepcopy(model)
    apply_masks(model, masks)
    return model


def difference(a, b, shape, training, dtype=torch.float32):
    """The largest difference of logits, as a share of the largest logit where that is above 1: it rounds in these."""
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        left, right = (copy.deepcopy(model).to(dtype).train(training)(x) for model in (a, b))
    return float((left - right).abs().max() / left.abs().max().clamp(min=1))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def full(model):
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
