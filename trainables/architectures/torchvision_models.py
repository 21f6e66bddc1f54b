"""Classification models of torchvision, by torchvision's names: `torchvision/resnet50`."""

from __future__ import annotations

from functools import partial

import torchvision.models
from torch import nn
from torchvision.models import get_model, list_models

from pruners.errors import message_of
from search_spaces.errors import SpaceError, choose
from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.ends import see
from trainables.architectures.pretrained import ONE_HEAD

PREFIX = "torchvision/"


def torchvision_model(name: str) -> Architecture:
    """Return the architecture of a full name such as `torchvision/vit_b_16`.

    Raises:
        ValueError: if torchvision has no such classification model, with the nearest name.
    """
    choose("architecture", name, [PREFIX + known for known in list_models(module=torchvision.models)])
    own = name.removeprefix(PREFIX)
    return Architecture(partial(_make, own), f"torchvision's {own}", min_size=1, weights=own)


def _make(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    """Build the model with its own initialisation: [N, C, H, W] -> [N, num_classes].

    Raises:
        SpaceError: if the model cannot be built for images of that shape, with torchvision's message.
    """
    channels, height, width = input_shape
    if height != width and _fitted(name, 1):
        raise SpaceError(f"architecture: '{PREFIX}{name}' takes square images, and these are {height}x{width}")
    try:
        model = get_model(name, num_classes=num_classes, **_fitted(name, height), **_settings(name))
    except (ValueError, AssertionError) as error:
        what = f"'{PREFIX}{name}' cannot be made for {height}x{width} images"
        raise SpaceError(f"architecture: {what}: {message_of(error)}") from None
    return see(model, channels)


def _settings(name: str) -> dict[str, object]:
    return {**ONE_HEAD[name], "init_weights": True} if name in ONE_HEAD else {}


def _fitted(name: str, side: int) -> dict[str, object]:
    """Return the image size as arguments for models that are built for one size; {} for others."""
    if name.startswith("vit_"):
        return {"image_size": side}
    return {"input_size": (side, side)} if name.startswith("maxvit_") else {}
