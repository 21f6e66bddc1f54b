"""Fully connected network."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from trainables.architectures.architecture import Architecture, Shape


def mlp(input_shape: Shape, num_classes: int, depth: int = 6, width: int = 100) -> nn.Module:
    """Build `depth` linear layers with biases and ReLU between them: [N, C, H, W] -> [N, num_classes].

    The fully connected network of Tanaka et al. 2020 (SynFlow), with torch's default initialisation as they use.
    """
    widths = [prod(input_shape), *[width] * (depth - 1)]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))


MLP = Architecture(mlp, "fully connected, five hidden layers of 100", min_size=1, init="torch-default")
