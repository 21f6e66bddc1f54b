"""A network with dropout, which draws random numbers in each step."""

from torch import nn


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two convolutions, and dropout before the last layer."""
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32 * ((height + 1) // 2) * ((width + 1) // 2), num_classes),
    )
