"""Models of timm, if it is installed, by timm's names: `timm/resnet26`."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from pruners.errors import message_of
from search_spaces.errors import SpaceError, choose
from trainables.architectures.architecture import Architecture, Shape

PREFIX = "timm/"


def timm_model(name: str) -> Architecture:
    """Return the architecture of a full name such as `timm/resnet26`.

    Raises:
        ValueError: if timm is not installed, or has no such model (with the nearest name).
    """
    timm = _timm(name)
    own = name.removeprefix(PREFIX)
    if own not in timm.list_models():  # timm has more than a thousand models: name only the nearest
        near = [known for known in timm.list_models() if known.startswith(own[:5])] or timm.list_models()
        choose("architecture", name, [PREFIX + known for known in near[:20]])
    return Architecture(partial(_make, own), f"timm's {own}", min_size=1)


def _make(name: str, input_shape: Shape, num_classes: int) -> nn.Module:
    """Build the model with its own initialisation: [N, C, H, W] -> [N, num_classes].

    Raises:
        SpaceError: if the model cannot be built for images of that shape, with timm's message.
    """
    timm = _timm(PREFIX + name)
    channels, height, width = input_shape
    fixed = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    size = {"img_size": (height, width)} if fixed else {}
    try:
        model: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=channels, **size)
    except (ValueError, AssertionError, TypeError) as error:
        what = f"'{PREFIX}{name}' cannot be made for {height}x{width} images"
        raise SpaceError(f"architecture: {what}: {message_of(error)}") from None
    return model


def _timm(name: str) -> Any:
    try:
        return import_module("timm")
    except ImportError:
        raise SpaceError(f"architecture: '{name}' needs timm, which is not installed; pip install timm") from None
