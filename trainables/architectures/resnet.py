"""Residual networks for CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.initialisation import initialise

INIT = "synflow"


class Block(nn.Module):
    """Residual block of two 3x3 convolutions: [N, before, H, W] -> [N, after, H / stride, W / stride]."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        # If the shape changes, the shortcut is a prunable 1x1 convolution, as in the lottery-ticket and SynFlow
        # programs; the CIFAR networks of He et al. pad with zeros instead.
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            project = nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


def resnet(depth: int, input_shape: Shape, num_classes: int, width: int = 16) -> nn.Module:
    """Build a CIFAR ResNet of `depth` = 6n + 2 layers: [N, C, H, W] -> [N, num_classes].

    Its three stages have `width`, 2 and 4 times as many channels. He et al. 2016, section 4.2, with 1x1 convolutions as
    shortcuts, as in Tanaka et al. 2020 (SynFlow). Width 32 is the wide form of the latter, and the ResNet-32 of Wang et
    al. 2020 (GraSP).
    """
    blocks = (depth - 2) // 6
    layers: list[nn.Module] = []
    before = width
    for stage in range(3):
        after = width * 2**stage
        for block in range(blocks):
            layers.append(Block(before, after, stride=2 if stage > 0 and block == 0 else 1))
            before = after
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False),
            bn=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
            blocks=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(before, num_classes),
        )
    )
    initialise(model, INIT)
    return model


DEPTHS = (20, 32, 44, 56, 110, 1202)
RESNETS = {
    f"resnet{depth}": Architecture(partial(resnet, depth), f"ResNet-{depth} for CIFAR", min_size=4, init=INIT)
    for depth in DEPTHS
} | {
    f"wide-resnet{depth}": Architecture(
        partial(resnet, depth, width=32), f"ResNet-{depth} for CIFAR, twice as wide", min_size=4, init=INIT
    )
    for depth in DEPTHS
}
