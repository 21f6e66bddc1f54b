"""The smallest convolutional network."""

from __future__ import annotations

from torch import nn

from trainables.architectures.architecture import Architecture, Shape


def conv(input_shape: Shape, num_classes: int, width: int = 32) -> nn.Module:
    """Build two 3x3 convolutions at full resolution and one linear layer: [N, C, H, W] -> [N, num_classes].

    The small convolutional network of the SynFlow program (Tanaka et al. 2020), with torch's default
    initialisation as in that program. It has no batch norm: on 8x8 digits batch norm gains half a point, less
    than the seeds differ by.
    """
    channels, height, grid_width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * height * grid_width, num_classes),
    )


CONV = Architecture(conv, "two 3x3 convolutions of 32 channels and a linear layer", min_size=1, init="torch-default")
