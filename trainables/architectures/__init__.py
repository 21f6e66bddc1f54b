"""Networks to prune: plain modules, built by name. To add one, write its file and two lines below."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pruners import keep_dense
from pruners.products import discover
from search_spaces.catalog import is_custom
from search_spaces.errors import SpaceError, choose
from search_spaces.network import Network
from trainables.architectures import pretrained
from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.conv import CONV
from trainables.architectures.ends import classifier
from trainables.architectures.global_state import own_draws
from trainables.architectures.imagenet_resnet import IMAGENET_RESNETS
from trainables.architectures.initialisation import initialise
from trainables.architectures.mlp import MLP
from trainables.architectures.mobilenet import MOBILENETS
from trainables.architectures.module import as_module
from trainables.architectures.own import own
from trainables.architectures.resnet import RESNETS
from trainables.architectures.timm_models import timm_model
from trainables.architectures.torchvision_models import torchvision_model
from trainables.architectures.vgg import VGGS
from trainables.architectures.vision_transformers import VISION_TRANSFORMERS

__all__ = ["ARCHITECTURES", "Architecture", "Shape", "build", "check", "lookup"]

ARCHITECTURES = {
    "mlp": MLP,
    "conv": CONV,
    **RESNETS,
    **VGGS,
    **IMAGENET_RESNETS,
    **MOBILENETS,
    **VISION_TRANSFORMERS,
}
DROP_PATH = "drop_path"  # the option that is a probability
LIBRARIES = {"torchvision": torchvision_model, "timm": timm_model}


def lookup(name: str, code: str = "") -> Architecture:
    """Return the architecture `name`: one of ours, `torchvision/…`, `timm/…`, or the user's own `my_file.py:build`.

    `code`, if given, is the text of the user's file; the file itself is then not read.

    Raises:
        ValueError: if the name is unknown (with the nearest name), or the user's file is wrong (with the reason).
    """
    if is_custom(name):
        return own(name, code)
    library, slash, _ = name.partition("/")
    if slash:
        return LIBRARIES[choose("architecture: library", library, LIBRARIES)](name)
    return ARCHITECTURES[choose("architecture", name, ARCHITECTURES)]


def check(network: Network, input_shape: Shape) -> Architecture:
    """Return the architecture of `network` if it can take images of `input_shape` (C, H, W). Builds nothing.

    Raises:
        ValueError: if the name is unknown, a number among the options is not above 0, or the images are too small.
    """
    architecture = lookup(network.name, network.code)
    for key, value in network.options:
        if key == DROP_PATH and not 0 <= value < 1:
            raise SpaceError(
                f"architecture {network.name}: {key} {value} is not allowed; it must be at least 0 and below 1"
            )
        if network.name in ARCHITECTURES and type(value) in (int, float) and value <= 0 and key != DROP_PATH:
            raise SpaceError(f"architecture {network.name}: {key} {value} is not allowed; it must be above 0")
    _, height, width = input_shape
    side = min(height, width)
    if side < architecture.min_size:
        able = ", ".join(other for other, a in ARCHITECTURES.items() if a.min_size <= side)
        raise SpaceError(
            f"architecture: '{network.name}' needs images of at least {architecture.min_size} pixels a side "
            f"but these are {height}x{width}; architectures that can take them: {able}"
        )
    return architecture


def build(
    network: str | Network, input_shape: Shape, num_classes: int, seed: int, weights: Path | None = None
) -> nn.Module:
    """Build the network that a trial starts from: images [N, C, H, W] -> logits [N, num_classes], in training mode.

    The same seed gives the same weights, whatever the global random states of torch, numpy and Python; these stay
    unchanged. Lazy layers are initialised, and wrappers such as nn.DataParallel removed (`as_module`). If the network
    has an `init`, convolutions and linear layers are drawn by it. Pretrained weights are loaded from the folder
    `weights` (see `pretrained.provide`); a classifier for another number of classes keeps its random weights. Layers
    that the network keeps dense are marked (`pruners.keep_dense`), and so are weights that a network from elsewhere
    uses outside of torch's own layers (`pruners.mark_prunable`).

    Raises:
        ValueError: if the name is unknown, images of `input_shape` (C, H, W) are too small, the network cannot be
            trained, the pretrained weights do not exist, or a name to keep dense matches no weight.
    """
    network = Network(network) if isinstance(network, str) else network
    architecture = check(network, input_shape)
    with own_draws(seed, "weights"):
        model = as_module(architecture.make(input_shape, num_classes, **dict(network.options)), input_shape)
        if network.init:
            initialise(model, network.init)
    if network.pretrained:
        if weights is None:
            raise SpaceError(
                f"pretrained: '{network.pretrained}' is kept in a folder of weights; pass the folder, as in "
                "build(…, weights=FOLDER)"
            )
        given = pretrained.state(network.pretrained, architecture.weights, weights)
        model.load_state_dict(pretrained.fitted(model, given, num_classes)[0])
    if network.name not in ARCHITECTURES:
        discover(model, torch.zeros(1, *input_shape))
    last = [classifier(model, num_classes)] if network.dense_classifier else []
    keep_dense(model, [*network.keep_dense, *last])
    return model
