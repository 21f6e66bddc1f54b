"""Datasets that are read file by file, because their images are too many or too large to decode once and keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Readable

from trainables.datasets.augmentation import NONE
from trainables.datasets.batches import normalise
from trainables.datasets.dataset import Dataset, Device, Half
from trainables.datasets.images import opened
from trainables.datasets.pixels import to_8_bits
from trainables.datasets.prefetch import prefetched
from trainables.datasets.spec import DatasetError, DatasetSpec, Files
from trainables.datasets.strong_augmentation import StrongAugmentation, mean_colour
from trainables.randomness import seeded

Wanted = tuple[list[int], tuple[int, int] | None]  # rows of a batch, and (seed, epoch) if they are augmented


@dataclass(frozen=True)
class Streamed(Dataset):
    """Dataset of image files, decoded each time they are needed by `workers` processes (0: by the trial's own).

    Testing scales the shorter side to 256 / 224 of the network's and crops the middle. Training alters that middle, or
    takes boxes from the whole image, as the published ImageNet recipe does.
    """

    files: Files
    workers: int = 0

    def plain(self, half: Half, batches: Sequence[Tensor], device: Device) -> Iterator[Tensor]:
        """See `Dataset.plain`."""
        paths = self.files.train if half == "train" else self.files.test
        return self._read(paths, [(rows.tolist(), None) for rows in batches], device)

    def augmented(self, batches: Sequence[Tensor], seed: int, epoch: int, device: Device) -> Iterator[Tensor]:
        """See `Dataset.augmented`. Independent of the number of workers: each image has a random stream of its own."""
        drawn = None if self.spec.augment == NONE and not self.strong.alters else (seed, epoch)
        return self._read(self.files.train, [(rows.tolist(), drawn) for rows in batches], device)

    def _read(self, paths: np.ndarray[Any, Any], wanted: list[Wanted], device: Device) -> Iterator[Tensor]:
        on_gpu = torch.device(device).type == "cuda"
        loader: DataLoader[Tensor | DatasetError] = DataLoader(
            _Reader(paths, self.spec, self.strong),
            batch_size=None,  # each item that is read is a whole batch
            sampler=wanted,
            num_workers=min(self.workers, len(wanted)),
            pin_memory=on_gpu,
            generator=torch.Generator(),  # otherwise it would draw from the process's generator
        )
        for images in loader:
            if isinstance(images, DatasetError):
                raise images
            yield images

    def _normalised(self, images: Iterator[Tensor], device: Device) -> Iterator[Tensor]:
        """See `Dataset._normalised`. A GPU copies and normalises the next batch while it trains on another."""
        if torch.device(device).type != "cuda":
            return super()._normalised((batch.to(device) for batch in images), device)

        def prepare(batch: Tensor) -> Tensor:
            return normalise(batch.to(device, non_blocking=True), self.spec.mean, self.spec.std)

        return prefetched(images, device, prepare)


class _Reader(Readable[Tensor | DatasetError]):
    """Dataset of torch that reads the batch of given rows; runs in the workers."""

    def __init__(self, paths: np.ndarray[Any, Any], spec: DatasetSpec, strong: StrongAugmentation) -> None:
        self.paths = paths
        self.shape = spec.input_shape
        self.decoding = spec.decoding
        self.augment = spec.augment
        self.mean = spec.mean
        self.strong = strong.transforms(spec.mean)

    def __getitem__(self, wanted: Wanted) -> Tensor | DatasetError:
        rows, drawn = wanted
        if not rows:  # a worker's part of a small batch can be empty
            return torch.empty(0, *self.shape, dtype=torch.uint8)
        try:
            return torch.stack([self._image(row, drawn) for row in rows])
        except DatasetError as error:  # an error raised in a worker would arrive wrapped in the worker's traceback
            return error

    def _image(self, row: int, drawn: tuple[int, int] | None) -> Tensor:
        with opened(self.paths[row]) as file:
            image = to_8_bits(self.paths[row], file, self.shape[0], self.decoding)
        if drawn is None:
            pixels: Tensor = self._middle(image)
        else:
            seed, epoch = drawn
            with seeded(seed, "augment", epoch, row):
                pixels = self._random(image)
        return pixels

    @cached_property
    def _random(self) -> Any:
        from torchvision.transforms import v2

        how, side = self.augment, self.shape[1]
        flip: list[Any] = [v2.RandomHorizontalFlip()] if how.flip else []
        if how.area is not None:
            box = v2.RandomResizedCrop(side, how.area, how.ratio)
            return v2.Compose([box, *flip, v2.PILToTensor(), *self.strong])
        if how == NONE:
            return v2.Compose([self._middle, *self.strong])
        fill = tuple(mean_colour(self.mean)) if how.some else 0
        shift = v2.RandomCrop(side, how.padding, fill=fill)
        both = v2.Compose([shift, *flip])
        if how.some:
            both = v2.RandomChoice([v2.Identity(), shift, *flip, both], p=[1 / 3, 1 / 6, 1 / 6, 1 / 3])
        return v2.Compose([self._middle, both, *self.strong])

    @cached_property
    def _middle(self) -> Any:
        from torchvision.transforms import v2

        side = self.shape[1]
        return v2.Compose([v2.Resize(side * 256 // 224), v2.CenterCrop(side), v2.PILToTensor()])
