"""Residual networks of the ImageNet family, with the original stem or a stem for small images."""

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


def imagenet_resnet(depth: int, small: bool, input_shape: Shape, num_classes: int, width: int = 64) -> nn.Module:
    """Build torchvision's ResNet, if `small` with a 3x3 stem without pooling: [N, C, H, W] -> [N, num_classes].

    He et al. 2016, table 1. Results on CIFAR and Tiny-ImageNet are reported for the small form (Tanaka et al. 2020):
    the original stem divides the resolution by 4 before the first block. Convolutions are drawn from N(0, 2 / fan_out)
    and the linear layer by torch's default, as in torchvision and SynFlow; NTK-SAP draws both from N(0, 2 / fan_in).

    `width` 128 doubles the channels inside the blocks (Zagoruyko & Komodakis 2016): in bottlenecks only the inner
    channels, as in WRN-50-2; in two-layer blocks all channels, while the stem stays at 64. The SynFlow program takes a
    width for its wide ResNet-18 and ResNet-34 too but does not use it: its "WideResNet18" results are those of
    ResNet-18.

    Raises:
        SpaceError: if the width of two-layer blocks is not a multiple of 64.
    """
    block, blocks = FAMILY[depth]
    if block is Bottleneck:
        model = ResNet(block, blocks, num_classes, width_per_group=width)
    elif width % 64:
        raise SpaceError(
            f"architecture: a width of {width} is not allowed for ResNet-{depth}; it must be a multiple of 64"
        )
    else:
        model = ResNet(_wider(width // 64), blocks, num_classes)
    if not small:
        return see(model, input_shape[0])
    model.conv1 = nn.Conv2d(input_shape[0], 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model  # type: ignore[no-any-return]


def _wider(factor: int) -> type[nn.Module]:
    """Return a two-layer block with `factor` times the channels that the network asks for."""
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
            partial(imagenet_resnet, depth, False),
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
            partial(imagenet_resnet, depth, True), f"ResNet-{depth} with a 3x3 stem", min_size=9, init=INIT
        )
        for depth in FAMILY
    }
    | {
        f"wide-resnet{depth}-cifar": Architecture(
            partial(imagenet_resnet, depth, True, width=128),
            f"ResNet-{depth} with a 3x3 stem, blocks twice as wide",
            min_size=9,
            init=INIT,
        )
        for depth in FAMILY
    }
)
