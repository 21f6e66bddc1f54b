"""First and last layer of a network: the convolution that reads the image, and the classifier."""

from __future__ import annotations

from torch import nn

from pruners import layer_weights
from search_spaces import SpaceError


def classifier(model: nn.Module, num_classes: int) -> str:
    """Return the name of the weight (num_classes, ...) of the last layer that has one output per class.

    Raises:
        SpaceError: if there is no such layer.
    """
    names = [name for name, weight in layer_weights(model).items() if weight.shape[0] == num_classes]
    if not names:
        raise SpaceError(f"dense_classifier: the network has no layer with {num_classes} outputs")
    return names[-1]


def stem(model: nn.Module) -> nn.Conv2d | None:
    """Return the first 2D convolution, or None if a linear layer comes before it or there is none."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    return first if isinstance(first, nn.Conv2d) else None


def see(model: nn.Module, channels: int) -> nn.Module:
    """Change a network for RGB images, in place, to take images of `channels` 1 or 3; return it.

    For grey images each filter becomes its sum over the colours. The network then computes for a grey image what it
    would compute for the same image in three equal colours. This is right for random and for trained weights.

    Raises:
        SpaceError: for another number of channels, or if the network does not begin with a convolution of 3 channels.
    """
    first = stem(model)
    if channels == 3:
        return model
    if channels != 1 or first is None or first.in_channels != 3:
        raise SpaceError(f"architecture: it is made for 3 channels (or 1, grey), but these images have {channels}")
    first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))
    first.in_channels = 1
    return model
