"""What an architecture is: how to make the network, and what a space may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trainables.architectures import pretrained

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Architecture:
    """How to make a network for images of a shape, and the smallest image side (pixels) it can take."""

    make: Callable[..., nn.Module]  # of input shape and number of classes; `options` by keyword
    summary: str
    min_size: int
    options: Mapping[str, Any] = field(default_factory=dict)  # what a space may set, with defaults
    weights: str = ""  # what torchvision calls the network, where its published weights fit this one

    def pretrained(self, asked: str) -> str:
        """What a trial's record says for the pretrained weights that a space asks for (see `pretrained`).

        Raises:
            ValueError: if there are no such weights, with the nearest name, or no such file.
        """
        return pretrained.canonical(asked, self.weights)
