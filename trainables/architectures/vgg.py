"""VGG networks for CIFAR."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trainables.architectures.initialisation import kaiming_normal

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each stage, by depth. A depth counts the three linear layers of the ImageNet form too.
STAGES = {16: (2, 2, 3, 3, 3)}


def vgg_bn(depth: int, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """VGG's convolutions with batch norm, and one linear layer: [N, C, H, W] -> [N, num_classes].

    Simonyan & Zisserman 2015, table 1, in the CIFAR form of Frankle & Carbin 2019 and Tanaka et al. 2020:
    one linear layer instead of three, so depth 16 has 14 prunable layers. The convolutions keep
    their biases although batch norm cancels them, as published. On 32x32 images the last pooling is
    the published 2x2; averaging whatever is left lets it take any size from 16x16.
    """
    layers: list[nn.Module] = []
    before = input_shape[0]
    for stage, (width, convolutions) in enumerate(zip(WIDTHS, STAGES[depth], strict=True)):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, width, kernel_size=3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(before, num_classes),
        )
    )
    kaiming_normal(model)
    return model
