"""The starting weights of the CIFAR networks."""

from __future__ import annotations

from torch import nn


def kaiming_normal(model: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 2 / fan_in), zero their biases; in place.

    He et al. 2015, eq. 10: the initialisation of the published SynFlow experiments (Tanaka et al. 2020),
    and not torch's default. It decides what pruning at initialisation keeps: a layer's fan-in sets the
    size of its weights, and so the share of it that survives a global threshold. Batch norm stays at
    torch's default, scale one and shift zero, as published.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
