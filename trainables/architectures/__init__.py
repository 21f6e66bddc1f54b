"""The networks that are pruned: plain modules, built by name. To add one: its file, and a line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from search_spaces.errors import choose
from search_spaces.network import Network
from trainables.architectures.conv import conv
from trainables.architectures.mlp import mlp
from trainables.architectures.resnet import resnet
from trainables.architectures.vgg import vgg_bn
from trainables.randomness import seeded

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Architecture:
    """How to make a network for images of a shape, and the smallest image side (pixels) it can take."""

    make: Callable[..., nn.Module]  # of input shape and number of classes; `options` by keyword
    summary: str
    min_size: int
    options: Mapping[str, Any] = field(default_factory=dict)  # what a space may set, with defaults


ARCHITECTURES = {
    "mlp": Architecture(mlp, "fully connected, five hidden layers of 100", 1, {"depth": 6, "width": 100}),
    "conv": Architecture(conv, "two 3x3 convolutions of 32 channels and a linear layer", min_size=1),
    "resnet20": Architecture(partial(resnet, 20), "ResNet-20 for CIFAR, 0.27 M parameters", min_size=4),
    "vgg16-bn": Architecture(partial(vgg_bn, 16), "VGG-16 for CIFAR with batch norm, 14.7 M parameters", 16),
}


def lookup(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: if there is none, with the nearest name.
    """
    return ARCHITECTURES[choose("architecture", name, ARCHITECTURES)]


def check(network: Network, input_shape: Shape) -> Architecture:
    """The architecture of `network`, after making sure that it can take images of `input_shape` (C, H, W).

    Raises:
        ValueError: if the name is not known or the images are too small. Builds nothing, costs nothing.
    """
    architecture = lookup(network.name)
    _, height, width = input_shape
    side = min(height, width)
    if side < architecture.min_size:
        able = ", ".join(other for other, a in ARCHITECTURES.items() if a.min_size <= side)
        raise ValueError(
            f"architecture: '{network.name}' needs images of at least {architecture.min_size} pixels a side "
            f"and these are {height}x{width}; architectures that can take them: {able}"
        )
    return architecture


def build(network: str | Network, input_shape: Shape, num_classes: int, seed: int) -> nn.Module:
    """A freshly initialised network: images [N, C, H, W] -> logits [N, num_classes], in training mode.

    The same seed gives the same weights whatever torch's global random state, which is left as it was.

    Raises:
        ValueError: if the name is not known or images of `input_shape` (C, H, W) are too small for it.
    """
    network = Network(network) if isinstance(network, str) else network
    architecture = check(network, input_shape)
    with seeded(seed, "weights"):
        return architecture.make(input_shape, num_classes, **dict(network.options))
