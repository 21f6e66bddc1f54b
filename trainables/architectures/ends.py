"""The two ends of any network: the convolution that sees the image, and the layer that gives the classes."""

from __future__ import annotations

from torch import nn

from pruners import layer_weights
from search_spaces import SpaceError


def classifier(model: nn.Module, num_classes: int) -> str:
    """The name of the weight (num_classes, ...) of the last layer that gives one number per class.

    Raises:
        SpaceError: if there is none.
    """
    names = [name for name, weight in layer_weights(model).items() if weight.shape[0] == num_classes]
    if not names:
        raise SpaceError(f"dense_classifier: the network has no layer with {num_classes} outputs")
    return names[-1]


def stem(model: nn.Module) -> nn.Conv2d | None:
    """The first convolution, if that is what the network begins with."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    return first if isinstance(first, nn.Conv2d) else None


def see(model: nn.Module, channels: int) -> nn.Module:
    """Make a network for RGB images take images of `channels` 1 or 3, in place; returns it.

    For grey images each filter becomes its sum over the colours, so that the network computes for a grey image
    what it would for the same image in three equal colours: right for drawn and for trained weights.

    Raises:
        SpaceError: for another number of channels.
    """
    first = stem(model)
    if channels == 3:
        return model
    if channels != 1 or first is None or first.in_channels != 3:
        raise SpaceError(f"architecture: made for 3 channels (or 1, grey), and these images have {channels}")
    first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))
    first.in_channels = 1
    return model
