"""What an architecture is: how to make the network, and what a space may ask of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from search_spaces.errors import choose
from trainables.architectures import pretrained
from trainables.architectures.initialisation import INITIALISATIONS

Shape = tuple[int, int, int]  # channels, height, width
PLAIN = (bool, int, float, str)  # what a space can write


@dataclass(frozen=True)
class Architecture:
    """How to make a network for images of a shape, and the smallest image side (pixels) it can take."""

    make: Callable[..., nn.Module]  # of input shape and number of classes; `options` by keyword
    summary: str
    min_size: int
    weights: str = ""  # what torchvision calls the network, where its published weights fit this one
    init: str = ""  # how `make` draws the weights, where that has a name

    @cached_property
    def options(self) -> dict[str, Any]:
        """What a space may set, with defaults: the arguments of `make` after the two."""
        arguments = list(inspect.signature(self.make).parameters.values())[2:]
        return {argument.name: argument.default for argument in arguments if isinstance(argument.default, PLAIN)}

    def pretrained(self, asked: str) -> str:
        """What a trial's record says for the pretrained weights that a space asks for (see `pretrained`).

        Raises:
            ValueError: if there are no such weights, with the nearest name, or no such file.
        """
        return pretrained.canonical(asked, self.weights)

    def initialisation(self, asked: str) -> str:
        """What a trial's record says for the initialisation that a space asks for: "" for the architecture's own.

        Raises:
            ValueError: if there is none of that name, with the nearest.
        """
        return "" if choose("init", asked, INITIALISATIONS) == self.init else asked
