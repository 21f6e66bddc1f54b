"""Stronger augmentations of training images: RandAugment, random erasing, mixup and CutMix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.datasets.augmentation import boxes
from trainables.randomness import derive, generator

OPERATIONS = 2  # of RandAugment on each image; the default of torchvision and timm
ERASED, ASPECT = (0.02, 0.33), (0.3, 3.3)  # share of the image and aspect of an erased box: torchvision's defaults


class Mix(NamedTuple):
    """Mixture of each image of a batch with the image before it, as torchvision's MixUp and CutMix pair them."""

    share: float  # of the image itself
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right of what comes from the partner: CutMix

    def images(self, x: Tensor, partners: Tensor) -> Tensor:
        """Return the mixture of images [B, C, H, W]."""
        if self.box is None:
            return partners * (1 - self.share) + x * self.share
        top, bottom, left, right = self.box
        mixed = x.clone()
        mixed[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
        return mixed

    def classes(self, y: Tensor, count: int) -> Tensor:
        """Return the probabilities float32 [B, `count`] of a whole batch of classes int64 [B]."""
        known = F.one_hot(y, count).float()
        return known.roll(1, 0) * (1 - self.share) + known * self.share


@dataclass(frozen=True)
class StrongAugmentation:
    """What happens to training images after crop and flip; each field of value 0 has no effect."""

    rand_augment: int = 0  # magnitude, 1 to 30
    random_erasing: float = 0.0  # probability
    mixup: float = 0.0  # parameter α of the Beta distribution of the shares
    cutmix: float = 0.0  # the same; with both, one of the two is drawn for each batch

    @property
    def alters(self) -> bool:
        """True if single images are altered."""
        return bool(self.rand_augment or self.random_erasing)

    @property
    def mixes(self) -> bool:
        """True if images of a batch are mixed."""
        return bool(self.mixup or self.cutmix)

    def draws(self, n: int, size: tuple[int, int], seed: int, epoch: int) -> Tensor:
        """Draw for each of n images of `size` (height, width): int64 [n, 6], two operations and a box to erase."""
        draw = generator(seed, "rand-augment", epoch)
        operations = torch.randint(2 * len(_operations()), (OPERATIONS, n), generator=draw)
        erase = generator(seed, "erase", epoch)
        apart = torch.rand(n, generator=erase) < self.random_erasing
        box = torch.stack(boxes(n, size, ERASED, ASPECT, erase))
        return torch.stack([*operations, *(box * apart)], 1)

    def altered(self, x: Tensor, draws: Tensor, mean: Sequence[float]) -> Tensor:
        """Return images x, uint8 [B, C, H, W], altered by their `draws`; `mean` is of pixel / 255, per channel.

        All images with the same operation are altered together, which gives the same bytes as one by one and is four
        times as fast on a CPU.
        """
        colour = mean_colour(mean)
        *operations, top, left, height, width = draws.unbind(1)
        for each in operations if self.rand_augment else ():
            x = x.clone()
            for number in torch.unique(each).tolist():
                rows = (each == number).nonzero()[:, 0]
                x[rows] = operate(x[rows], number, self.rand_augment, colour)
        if not self.random_erasing:
            return x
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
        inside = (rows >= top[:, None]) & (rows < (top + height)[:, None])
        across = (columns >= left[:, None]) & (columns < (left + width)[:, None])
        erased = (inside[:, :, None] & across[:, None])[:, None]
        return torch.where(erased, torch.tensor(colour, dtype=x.dtype, device=x.device)[:, None, None], x)

    def transforms(self, mean: Sequence[float]) -> list[Any]:
        """Return torchvision's transforms of the same distribution, for one image uint8 [C, H, W] at a time."""
        from torchvision.transforms import v2

        colour, found = mean_colour(mean), []
        if self.rand_augment:
            found.append(v2.RandAugment(OPERATIONS, self.rand_augment, fill=colour))
        if self.random_erasing:
            found.append(v2.RandomErasing(self.random_erasing, ERASED, ASPECT, value=colour))
        return found

    def mix(self, size: tuple[int, int], seed: int, epoch: int, batch: int) -> Mix:
        """Draw how batch number `batch` of the epoch is mixed; images are of `size` (height, width).

        Distributed as in torchvision. The draws are made on the host and need no state of the process.
        """
        draw = np.random.default_rng(derive(seed, "mix", epoch, batch))
        cut = bool(self.cutmix) and (not self.mixup or bool(draw.random() < 0.5))
        alpha = self.cutmix if cut else self.mixup
        share = draw.beta(alpha, alpha)
        if not cut:
            return Mix(share)
        ends = []
        for side in size:
            centre, half = int(draw.integers(side)), int(0.5 * (1 - share) ** 0.5 * side)
            ends += [max(centre - half, 0), min(centre + half, side)]
        top, bottom, left, right = ends
        return Mix(1 - (bottom - top) * (right - left) / (size[0] * size[1]), (top, bottom, left, right))


NO_STRONG = StrongAugmentation()


def mean_colour(mean: Sequence[float]) -> list[int]:
    """Return the mean of pixel / 255 per channel as a colour."""
    return [round(255 * channel) for channel in mean]


def operate(x: Tensor, number: int, magnitude: int, colour: list[int]) -> Tensor:
    """Return images x, uint8 [B, C, H, W], altered by operation `number` of RandAugment.

    Even numbers are operations at their magnitude, odd ones at its negative. Those without a sign ignore the
    difference.
    """
    from torchvision.transforms import v2

    # torchvision offers single operations only through these members, with the magnitudes of its RandAugment.
    how = v2.RandAugment(OPERATIONS, magnitude, fill=colour)
    name = _operations()[number // 2]
    magnitudes, signed = how._AUGMENTATION_SPACE[name]
    table = magnitudes(how.num_magnitude_bins, *x.shape[2:])
    amount = 0.0 if table is None else float(table[magnitude]) * (-1 if signed and number % 2 else 1)
    found: Tensor = how._apply_image_or_video_transform(
        x, name, amount, interpolation=how.interpolation, fill=how._fill
    )
    return found


@cache
def _operations() -> tuple[str, ...]:
    from torchvision.transforms import v2

    return tuple(v2.RandAugment._AUGMENTATION_SPACE)
