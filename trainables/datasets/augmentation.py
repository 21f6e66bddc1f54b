"""Augmentations of training images: crops and flips, by the names that a space may use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.randomness import generator

ATTEMPTS = 10  # to draw a box that fits into the image, before the middle is taken; as in torchvision
BITS = 22  # of the fixed-point weights of the interpolation; as in Pillow


@dataclass(frozen=True)
class Augmentation:
    """Random crop and flip, drawn anew for each image and epoch.

    The crop has the size of the image and is taken from the image with a border. Or it is a box of any size and aspect,
    resized to the size of the image.
    """

    summary: str = field(compare=False)
    padding: int = 0  # width of the border in pixels
    area: tuple[float, float] | None = None  # smallest and largest share of the image that a box takes
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # smallest and largest width / height of a box
    flip: bool = False  # half of all images are mirrored
    # imgaug's SomeOf: none, one, or both of crop and flip, equally often. The border is the mean colour, not black.
    some: bool = False

    def draws(self, n: int, size: tuple[int, int], seed: int, epoch: int) -> Tensor:
        """Draw crop and flip for each of n images of `size` (height, width): int64 [n, 3] or, with boxes, [n, 5]."""
        mirrored = torch.randint(2, (n,), generator=generator(seed, "flip", epoch))
        if not self.flip:
            mirrored.zero_()
        if self.area is not None:
            return torch.stack([*boxes(n, size, self.area, self.ratio, generator(seed, "crop", epoch)), mirrored], 1)
        corners = torch.randint(2 * self.padding + 1, (2, n), generator=generator(seed, "crop", epoch))
        if self.some:
            count = torch.randint(3, (n,), generator=generator(seed, "some", epoch))
            either = torch.randint(2, (n,), generator=generator(seed, "either", epoch))
            corners = torch.where((count == 2) | ((count == 1) & (either == 0)), corners, self.padding)
            mirrored = torch.where((count == 2) | ((count == 1) & (either == 1)), mirrored, 0)
        return torch.stack([*corners, mirrored], 1)

    def altered(self, x: Tensor, draws: Tensor, mean: Sequence[float]) -> Tensor:
        """Return images x, uint8 [B, C, H, W], altered by their `draws`; `mean` is of pixel / 255, per channel."""
        if self.area is None:
            colour = [round(255 * channel) for channel in mean] if self.some else [0] * len(mean)
            return crop(x, self.padding, colour, *draws.unbind(1))
        *box, mirrored = draws.unbind(1)
        x = resized(x, *box)
        return torch.where(mirrored[:, None, None, None] > 0, x.flip(3), x)


NONE = Augmentation("not altered")
AUGMENTATIONS = {
    "none": NONE,
    "pad4": Augmentation("shifted by up to 4 pixels over black", padding=4),
    "pad4-flip": Augmentation("shifted by up to 4 pixels over black, half of them mirrored", padding=4, flip=True),
    "pad8-flip": Augmentation("shifted by up to 8 pixels over black, half of them mirrored", padding=8, flip=True),
    "resized-crop-flip": Augmentation(
        "boxes of 8 to 100 % of the area, aspect 3/4 to 4/3, resized, half of them mirrored: torchvision's",
        area=(0.08, 1),
        flip=True,
    ),
    "resized-crop-0.1-flip": Augmentation(
        "boxes of 10 to 100 % of the area, aspect 4/5 to 5/4, resized, half of them mirrored: NTK-SAP's for "
        "Tiny-ImageNet, open_lth's for ImageNet",
        area=(0.1, 1),
        ratio=(0.8, 1.25),
        flip=True,
    ),
    "snip": Augmentation(
        "none, one or both of a shift by up to 4 pixels over the mean colour and a mirroring: the SNIP authors'",
        padding=4,
        flip=True,
        some=True,
    ),
}


def shifted(side: int) -> Augmentation:
    """Return the augmentation for images of `side` pixels without a published one: CIFAR's, in proportion."""
    return Augmentation(f"shifted by up to {side // 8} pixels over black, half of them mirrored", side // 8, flip=True)


def crop(x: Tensor, border: int, colour: Sequence[int], top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Shift each image of [B, C, H, W] by up to `border` pixels over `colour`; mirror it where `mirrored` is 1.

    Works on the whole batch: it computes the position of every pixel in its bordered image, and one `gather` takes them
    all. That is 2.4 times faster than indexing windows of the images and of their mirror images. Padding every batch
    is as fast as padding the training set once, and saves each process a padded copy of 240 MB.
    """
    channels, height, width = x.shape[1:]
    if any(colour):
        parts = zip(x.unbind(1), colour, strict=True)
        x = torch.stack([F.pad(part, [border] * 4, value=value) for part, value in parts], 1)
    else:
        x = F.pad(x, [border] * 4)
    whole = width + 2 * border
    columns = left[:, None] + torch.arange(width, device=x.device)
    columns = torch.where(mirrored[:, None] > 0, whole - 1 - columns, columns)
    rows = top[:, None] + torch.arange(height, device=x.device)
    places = (whole * rows[:, :, None] + columns[:, None]).flatten(1)
    return x.flatten(2).gather(2, places[:, None].expand(-1, channels, -1)).view(-1, channels, height, width)


def boxes(
    n: int, size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], draw: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw random boxes in images of `size` (height, width): top, left, height and width, int64 [n] each.

    Distributed as in torchvision's RandomResizedCrop: area and logarithm of the aspect are uniform, and drawn again
    while the box does not fit.
    """
    height, width = size
    share, aspect = torch.rand(2, ATTEMPTS, n, generator=draw, dtype=torch.float64)
    pixels = height * width * (area[0] + (area[1] - area[0]) * share)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * aspect).exp()
    across, down = (pixels * aspect).sqrt().round().long(), (pixels / aspect).sqrt().round().long()
    fits = (across > 0) & (across <= width) & (down > 0) & (down <= height)
    failed = (fits.cumsum(0) == 0).sum(0)  # attempts before the first that fits
    chosen = failed.clamp(max=ATTEMPTS - 1)[None]
    none = failed == ATTEMPTS
    # If no attempt fits: the largest box in the middle whose aspect is allowed.
    across = torch.where(none, min(width, round(height * ratio[1])), across.gather(0, chosen)[0])
    down = torch.where(none, min(height, round(width / ratio[0])), down.gather(0, chosen)[0])
    free = torch.stack([height - down, width - across])
    place = (torch.rand(2, n, generator=draw, dtype=torch.float64) * (free + 1)).long()
    top, left = torch.where(none, free.div(2, rounding_mode="floor"), place)
    return top, left, down, across


def resized(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Return the box of each image of uint8 [B, C, H, W], resized to H and W by bilinear interpolation.

    The bytes equal Pillow's for a box that is not larger than the image: columns first, then rows, in Pillow's
    fixed-point numbers. So CPU and GPU agree as well.
    """
    return _stretched(_stretched(x, 3, left, width), 2, top, height)


def _stretched(x: Tensor, dim: int, start: Tensor, length: Tensor) -> Tensor:
    size = x.shape[dim]
    steps = torch.arange(size, device=x.device, dtype=torch.float64) + 0.5
    # Divide by a tensor: for a plain number CUDA multiplies with its rounded inverse.
    scale = length.double() / torch.full_like(length, size)
    centre = steps * scale[:, None] - 0.5  # in pixels of the box, from 0
    first = centre.floor()
    share = centre - first
    total = (1 - share) + share
    last = (length - 1)[:, None]
    shape = [len(x), 1, 1, 1]
    shape[dim] = size
    sum_ = torch.full_like(x, 1, dtype=torch.int32) << (BITS - 1)  # one half, to round
    for place, weight in ((first, 1 - share), (first + 1, share)):
        index = (start[:, None] + place.long().clamp(min=0).minimum(last)).view(shape).expand_as(x)
        fixed = (0.5 + weight * (1 / total) * (1 << BITS)).int().view(shape)
        sum_ += x.gather(dim, index).int() * fixed
    return (sum_ >> BITS).to(torch.uint8)
