"""Datasets in memory: decoded once, mapped by every process of a machine, augmented by whole batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.datasets.augmentation import NONE, Augmentation
from trainables.datasets.dataset import Dataset, Device, Half
from trainables.datasets.resident import Key, at_once, resident, to_device
from trainables.datasets.strong_augmentation import StrongAugmentation

# Limits of what a GPU makes at once. Float pixels of 32 MiB are 21 batches of 128 CIFAR images: the 17 kernels of crop,
# flip and normalisation are then less than one a step. With temporary tensors it takes up to four times as much memory.
GROUP_IMAGES, GROUP_BYTES = 8192, 2**25
# On a CPU a batch stays in the caches from one operation to the next. So images are made together only if their float
# pixels fit into a core's cache: an epoch of digits, but no two batches of CIFAR.
CACHED_BYTES = 2**19


@dataclass(frozen=True)
class InMemory(Dataset):
    """Dataset of two tensors that are maps of files: all processes of a machine share one copy."""

    train_x: Tensor  # uint8 [N, C, H, W]
    test_x: Tensor

    def plain(self, half: Half, batches: Sequence[Tensor], device: Device) -> Iterator[Tensor]:
        """See `Dataset.plain`."""
        images = self._images(half, device)
        for rows in at_once(batches, images.device):
            yield to_device(images.index_select(0, rows), device)

    def augmented(self, batches: Sequence[Tensor], seed: int, epoch: int, device: Device) -> Iterator[Tensor]:
        """See `Dataset.augmented`. Draws belong to an image: order, crops and flips do not affect each other."""
        images = self.plain("train", batches, device)
        for how in [self.spec.augment] * (self.spec.augment != NONE) + [self.strong] * self.strong.alters:
            draws = how.draws(len(self.train_y), self.input_shape[1:], seed, epoch)
            images = self._altered(how, images, at_once([draws[rows] for rows in batches], device))
        return images

    def _altered(
        self, how: Augmentation | StrongAugmentation, images: Iterator[Tensor], draws: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        return (how.altered(x, each, self.spec.mean) for x, each in zip(images, draws, strict=True))

    def _made_at_once(self, device: Device) -> int:
        """See `Dataset._made_at_once`."""
        pixels = math.prod(self.input_shape)
        # Every batch must begin at a multiple of 32 bytes, or cuDNN could choose other kernels for it after a resume.
        if pixels % 8:
            return 0
        on_cpu = torch.device(device).type == "cpu"
        return min(GROUP_IMAGES, (CACHED_BYTES if on_cpu else GROUP_BYTES) // (4 * pixels))

    def _images(self, half: Half, device: Device) -> Tensor:
        images = self.train_x if half == "train" else self.test_x
        return resident(images, Key(self.spec.name, self.spec.digest, half, images.shape), device)
