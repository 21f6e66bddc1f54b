"""Vision transformers from torchvision's classes, in forms for images of 32, 64 and 224 pixels."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.ops import StochasticDepth

from search_spaces import SpaceError
from trainables.architectures.architecture import Architecture, Shape
from trainables.architectures.ends import see

HEAD = 64  # width of an attention head, in all sizes of Dosovitskiy et al. 2021 and Touvron et al. 2021
LARGE = 128  # pixels: from here on the patches and windows are those for ImageNet


def vit(input_shape: Shape, num_classes: int, width: int = 192, depth: int = 12, drop_path: float = 0.0) -> nn.Module:
    """Build torchvision's vision transformer: [N, C, H, W] -> [N, num_classes].

    Patches have 16 pixels a side; on images of less than 128 pixels an eighth of the side, or what divides it next:
    4 of 32, 8 of 64. There is a head for 64 channels of `width`, and the MLP is four times as wide. Weights are drawn
    as in DeiT's program: normal with a deviation of 0.02, cut at two; the classifier too, which torchvision sets to
    zero. `drop_path` is the probability at which the last block's branches are left out; it rises from 0 at the first.

    Raises:
        SpaceError: if images are not square or not made of whole patches, or `width` is not made of whole heads.
    """
    channels, height, side = input_shape
    patch = 16 if side >= LARGE else next(size for size in range(-(-side // 8), side + 1) if side % size == 0)
    if height != side or side % patch:
        raise SpaceError(f"architecture: vit takes square images of whole patches, and these are {height}x{side}")
    if width % HEAD:
        raise SpaceError(f"architecture: vit: width {width} is not allowed; it must be a multiple of {HEAD}")
    model = VisionTransformer(side, patch, depth, width // HEAD, width, 4 * width, num_classes=num_classes)
    for name, weight in model.named_parameters():
        if "norm" in name or ".ln" in name or name.startswith("conv_proj"):
            continue
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        else:
            nn.init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04)
    for number, block in enumerate(model.encoder.layers):
        if drop_path and number:
            share = drop_path * number / (depth - 1)
            # Both are the last thing before the branch is added: torchvision has a dropout of 0 there.
            block.dropout, block.mlp[-1] = StochasticDepth(share, "row"), StochasticDepth(share, "row")
    return see(model, channels)


def swin(input_shape: Shape, num_classes: int, width: int = 96, drop_path: float = 0.2) -> nn.Module:
    """Build torchvision's Swin transformer of four stages, with 2, 2, 6 and 2 blocks: [N, C, H, W] -> [N, num_classes].

    Patches have 4 pixels a side and windows 7 patches. On images of less than 128 pixels patches have a sixteenth of
    the side, 2 of 32 and 4 of 64, and windows 4 patches. A head has 32 channels. `drop_path` is as for `vit`.

    Raises:
        SpaceError: if `width` is not made of whole heads.
    """
    channels, height, side = input_shape
    if width % 32:
        raise SpaceError(f"architecture: swin: width {width} is not allowed; it must be a multiple of 32")
    large = min(height, side) >= LARGE
    patch, window = (4, 7) if large else (max(1, min(height, side) // 16), 4)
    heads = [width * 2**stage // 32 for stage in range(4)]
    model = SwinTransformer(
        [patch, patch], width, [2, 2, 6, 2], heads, [window, window],
        stochastic_depth_prob=drop_path, num_classes=num_classes,
    )  # fmt: skip
    return see(model, channels)


VISION_TRANSFORMERS = {
    "vit-tiny": Architecture(vit, "vision transformer of 12 blocks, 192 channels, 3 heads", min_size=8),
    "vit-small": Architecture(
        partial(vit, width=384), "vision transformer of 12 blocks, 384 channels, 6 heads", min_size=8
    ),
    "deit-small": Architecture(
        partial(vit, width=384, drop_path=0.1), "vit-small with DeiT's stochastic depth", min_size=8
    ),
    "swin-tiny": Architecture(swin, "Swin transformer of 12 blocks, 96 to 768 channels", min_size=8),
}
