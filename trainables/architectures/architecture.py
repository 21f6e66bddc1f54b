"""Architecture: how to build a network, and which options a space may set."""

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
PLAIN = (bool, int, float, str)  # types that a space can write


@dataclass(frozen=True)
class Architecture:
    """Function that builds a network for images of a shape, and the smallest image side (pixels) it can take."""

    make: Callable[..., nn.Module]  # called with input shape and number of classes; `options` by keyword
    summary: str
    min_size: int
    weights: str = ""  # torchvision's name of the network, if its published weights fit this one
    init: str = ""  # the initialisation that `make` uses, if it has a name

    @cached_property
    def options(self) -> dict[str, Any]:
        """Return the options that a space may set, with defaults: the arguments of `make` after the first two."""
        arguments = list(inspect.signature(self.make).parameters.values())[2:]
        return {argument.name: argument.default for argument in arguments if isinstance(argument.default, PLAIN)}

    def pretrained(self, asked: str) -> str:
        """Return the value recorded for the pretrained weights that a space asks for (see `pretrained.canonical`).

        Raises:
            ValueError: if there are no such weights (with the nearest name), or no such file.
        """
        return pretrained.canonical(asked, self.weights)

    def initialisation(self, asked: str) -> str:
        """Return the value recorded for the initialisation that a space asks for: "" for the architecture's own.

        Raises:
            ValueError: if there is no initialisation of that name, with the nearest name.
        """
        return "" if choose("init", asked, INITIALISATIONS) == self.init else asked
