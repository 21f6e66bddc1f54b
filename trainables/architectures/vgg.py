"""VGG networks for CIFAR and for Tiny-ImageNet, and the VGG of SNIP."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn

from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.initialisation import initialise

INIT, TINY_INIT, SNIP_INIT = "synflow", "grasp", "snip"  # the first two as in the SynFlow program's two forms
WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each stage, by depth. The depth includes the three linear layers of the ImageNet form.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(depth: int, batch_norm: bool, input_shape: Shape, num_classes: int) -> nn.Module:
    """Build VGG's convolutions and one linear layer: [N, C, H, W] -> [N, num_classes].

    Simonyan & Zisserman 2015, table 1, in the CIFAR form of Frankle & Carbin 2019 and Tanaka et al. 2020
    ("lottery"): one linear layer instead of three, so depth 16 has 14 prunable layers. The convolutions keep
    their biases although batch norm cancels them, as published. On 32x32 images the last pooling is the published 2x2.
    It averages over all positions that are left, so images of any size from 16x16 fit.
    """
    model = nn.Sequential(
        OrderedDict(
            features=_features(depth, batch_norm, input_shape[0]),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(WIDTHS[-1], num_classes),
        )
    )
    initialise(model, INIT)
    return model


def vgg_tiny(depth: int, batch_norm: bool, input_shape: Shape, num_classes: int) -> nn.Module:
    """Build VGG's convolutions with a fifth pooling and three linear layers: [N, C, H, W] -> [N, num_classes].

    The Tiny-ImageNet form of Tanaka et al. 2020: 64x64 images become 512 maps of 2x2, and linear layers of 1024 with
    dropout follow, so depth 16 has 16 prunable layers. Initialised as torchvision's. Larger images are averaged.
    """
    features = _features(depth, batch_norm, input_shape[0])
    features.append(nn.MaxPool2d(2))
    hidden: list[nn.Module] = []
    for before in (WIDTHS[-1] * 4, 1024):
        hidden += [nn.Linear(before, 1024), nn.ReLU(inplace=True), nn.Dropout()]
    model = nn.Sequential(
        OrderedDict(
            features=features,
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*hidden, nn.Linear(1024, num_classes)),
        )
    )
    initialise(model, TINY_INIT)
    return model


def vgg_snip(input_shape: Shape, num_classes: int) -> nn.Module:
    """Build SNIP's VGG-16 with a fifth pooling and three linear layers: [N, C, H, W] -> [N, num_classes].

    VGG-D of the SNIP authors' program (namhoonlee/snip-public f028496, snip/network.py): linear layers of 512 instead
    of 4096, batch norm after every layer but the last instead of dropout, a bias in every layer. The norms have
    TensorFlow's settings (epsilon 1e-3, momentum 0.99). Larger images are averaged.
    """
    features = _features(16, True, input_shape[0])
    features.append(nn.MaxPool2d(2))
    width = WIDTHS[-1]
    hidden = [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    hidden += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    model = nn.Sequential(
        OrderedDict(
            features=features,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*hidden, nn.Linear(width, num_classes)),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.01
    initialise(model, SNIP_INIT)
    return model


def _features(depth: int, batch_norm: bool, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = channels
    for stage, (width, convolutions) in enumerate(zip(WIDTHS, STAGES[depth], strict=True)):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            norm = [nn.BatchNorm2d(width)] if batch_norm else []
            layers += [nn.Conv2d(before, width, kernel_size=3, padding=1), *norm, nn.ReLU(inplace=True)]
            before = width
    return nn.Sequential(*layers)


_FORMS = {"": (False, ""), "-bn": (True, " with batch norm")}
VGGS = {
    f"vgg{depth}{suffix}": Architecture(
        partial(vgg, depth, norm), f"VGG-{depth} for CIFAR{words}", min_size=16, init=INIT
    )
    for depth in STAGES
    for suffix, (norm, words) in _FORMS.items()
} | {
    f"vgg{depth}{suffix}-tiny": Architecture(
        partial(vgg_tiny, depth, norm),
        f"VGG-{depth} for Tiny-ImageNet{words}, three linear layers",
        min_size=64,
        init=TINY_INIT,
    )
    for depth in STAGES
    for suffix, (norm, words) in _FORMS.items()
}
VGGS["vgg16-bn-snip"] = Architecture(
    vgg_snip, "SNIP's VGG-D for CIFAR: VGG-16, three linear layers, norms", min_size=32, init=SNIP_INIT
)
