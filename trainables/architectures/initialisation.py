"""The starting weights of the published programs."""

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


def fan_out(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan_out), linear layers from N(0, 0.01²), zero all biases; in place.

    As torchvision's VGG does, and the SynFlow program for its Tiny-ImageNet VGG networks.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
