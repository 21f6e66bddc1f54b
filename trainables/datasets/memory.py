"""Datasets in memory: decoded once, mapped by every process of a machine, augmented by whole batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.datasets.dataset import Dataset, Device, Half
from trainables.datasets.resident import Key, at_once, resident, to_device
from trainables.randomness import generator

# What a GPU makes at once. Float pixels of 32 MiB are 21 batches of 128 CIFAR images: the 17 kernels of crop, flip and
# normalisation are then less than one a step. With all that is needed meanwhile it takes up to four times as much.
GROUP_IMAGES, GROUP_BYTES = 8192, 2**25


@dataclass(frozen=True)
class InMemory(Dataset):
    """Images as two tensors. They are maps of files: all processes of a machine share one copy."""

    train_x: Tensor  # uint8 [N, C, H, W]
    test_x: Tensor

    def plain(self, half: Half, batches: Sequence[Tensor], device: Device) -> Iterator[Tensor]:
        """See `Dataset.plain`."""
        images = self._images(half, device)
        for rows in at_once(batches, images.device):
            yield to_device(images.index_select(0, rows), device)

    def augmented(self, batches: Sequence[Tensor], seed: int, epoch: int, device: Device) -> Iterator[Tensor]:
        """See `Dataset.augmented`. Draws belong to an image: order, crops and flips do not shift each other."""
        if self.spec.augment == "none":
            yield from self.plain("train", batches, device)
            return
        n, border = len(self.train_y), self.spec.padding
        corners = torch.randint(2 * border + 1, (2, n), generator=generator(seed, "crop", epoch))
        mirrored = torch.randint(2, (n,), generator=generator(seed, "flip", epoch))
        if self.spec.augment == "crop":
            mirrored.zero_()
        draws = torch.stack([*corners, mirrored], 1)
        each_batch = at_once([draws[rows] for rows in batches], device)
        for each, x in zip(each_batch, self.plain("train", batches, device), strict=True):
            yield crop(x, border, *each.unbind(1))

    def _made_at_once(self, device: Device) -> int:
        """See `Dataset._made_at_once`. On CPUs a batch stays in the caches from one operation to the next."""
        pixels = math.prod(self.input_shape)
        # Every batch begins at a multiple of 32 bytes, or cuDNN could take other kernels for it after a resumption.
        if torch.device(device).type == "cpu" or pixels % 8:
            return 0
        return min(GROUP_IMAGES, GROUP_BYTES // (4 * pixels))

    def _images(self, half: Half, device: Device) -> Tensor:
        images = self.train_x if half == "train" else self.test_x
        return resident(images, Key(self.spec.name, self.spec.digest, half, images.shape), device)


def crop(x: Tensor, border: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Each image of [B, C, H, W] shifted by up to `border` pixels over black, mirrored where `mirrored` is 1.

    Whole batches at once: the place of every pixel in its bordered image is computed, and one `gather` takes them
    all; that is 2.4 times faster than indexing windows of the images and of their mirror images. Padding every batch
    is as fast as padding the training set once, and saves each process a padded copy of 240 MB.
    """
    channels, height, width = x.shape[1:]
    x = F.pad(x, [border] * 4)
    whole = width + 2 * border
    columns = left[:, None] + torch.arange(width, device=x.device)
    columns = torch.where(mirrored[:, None] > 0, whole - 1 - columns, columns)
    rows = top[:, None] + torch.arange(height, device=x.device)
    places = (whole * rows[:, :, None] + columns[:, None]).flatten(1)
    return x.flatten(2).gather(2, places[:, None].expand(-1, channels, -1)).view(-1, channels, height, width)
