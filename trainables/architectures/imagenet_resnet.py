"""Residual networks of the ImageNet family, with their own stem or one for small images."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from search_spaces import SpaceError
from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.ends import see

INIT = "torchvision"
FAMILY = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}


def resnet(depth: int, small: bool, input_shape: Shape, num_classes: int, width: int = 64) -> nn.Module:
    """torchvision's ResNet; if `small` with a 3x3 stem and no pooling after it: [N, C, H, W] -> [N, num_classes].

    He et al. 2016, table 1. The small form is the one that CIFAR and Tiny-ImageNet results are reported
    for (Tanaka et al. 2020): the other's stem divides the resolution by 4 before the first block. Convolutions are
    drawn from N(0, 2 / fan_out), the linear layer by torch's default, as torchvision's and SynFlow's are; NTK-SAP draws
    both from N(0, 2 / fan_in).

    `width` 128 doubles the channels inside the blocks (Zagoruyko & Komodakis 2016): of bottlenecks the inner ones,
    as in WRN-50-2; of the two-layer blocks all, the stem staying at 64. The SynFlow program takes a width for its
    wide ResNet-18 and ResNet-34 too but does not use it: its "WideResNet18" results are those of ResNet-18.

    Raises:
        SpaceError: for a width of two-layer blocks that is no multiple of 64.
    """
    block, blocks = FAMILY[depth]
    if block is Bottleneck:
        model = ResNet(block, blocks, num_classes, width_per_group=width)
    elif width % 64:
        raise SpaceError(f"architecture: a width of {width} is not allowed for ResNet-{depth}; a multiple of 64 is")
    else:
        model = ResNet(_wider(width // 64), blocks, num_classes)
    if not small:
        return see(model, input_shape[0])
    model.conv1 = nn.Conv2d(input_shape[0], 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model  # type: ignore[no-any-return]


def _wider(factor: int) -> type[nn.Module]:
    """A two-layer block with `factor` times the channels that the network asks it for."""
    if factor == 1:
        return BasicBlock  # type: ignore[no-any-return]

    class WideBlock(BasicBlock):  # type: ignore[misc]
        expansion = factor

        def __init__(self, before: int, planes: int, *rest: object, **settings: object) -> None:
            super().__init__(before, planes * factor, *rest, **settings)

    return WideBlock


IMAGENET_RESNETS = (
    {
        f"resnet{depth}": Architecture(
            partial(resnet, depth, False),
            f"torchvision's ResNet-{depth}",
            min_size=1,
            weights=f"resnet{depth}",
            init=INIT,
        )
        for depth in FAMILY
    }
    | {
        # From 9 pixels on, the last maps are wider than one pixel and every weight can train.
        f"resnet{depth}-cifar": Architecture(
            partial(resnet, depth, True), f"ResNet-{depth} with a 3x3 stem", min_size=9, init=INIT
        )
        for depth in FAMILY
    }
    | {
        f"wide-resnet{depth}-cifar": Architecture(
            partial(resnet, depth, True, width=128),
            f"ResNet-{depth} with a 3x3 stem, blocks twice as wide",
            min_size=9,
            init=INIT,
        )
        for depth in FAMILY
    }
)
