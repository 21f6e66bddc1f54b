"""Dataset as trials use it: batches for training, testing, validation and scoring."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trainables.datasets.batches import WHOLE, ImageBatch, Part, balanced, grouped, normalise, part_of, spans
from trainables.datasets.resident import at_once
from trainables.datasets.spec import DatasetError, DatasetSpec
from trainables.datasets.strong_augmentation import NO_STRONG, StrongAugmentation
from trainables.randomness import generator

Half = Literal["train", "test"]
Device = torch.device | str
SCORING_BATCH = 256


@dataclass(frozen=True)
class Dataset(ABC):
    """Dataset that decides which images make which batch; its two subclasses supply the pixels."""

    spec: DatasetSpec
    train_y: Tensor  # int64 [N], of all training images
    test_y: Tensor
    rows: Tensor  # int64: the training images used for training and scoring
    held_out: Tensor  # int64: the training images held out for validation
    strong: StrongAugmentation = field(default=NO_STRONG, kw_only=True)  # after the augmentation of `spec`

    @abstractmethod
    def plain(self, half: Half, batches: Sequence[Tensor], device: Device) -> Iterator[Tensor]:
        """Yield unaltered images uint8 [B, C, H, W] for each batch of rows of `half`, ready for `_normalised`."""

    @abstractmethod
    def augmented(self, batches: Sequence[Tensor], seed: int, epoch: int, device: Device) -> Iterator[Tensor]:
        """Yield training images as `plain` does, each altered by what its row, the seed and the epoch determine."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width."""
        return self.spec.input_shape

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return self.spec.num_classes

    @property
    def test_digest(self) -> str:
        """Return a digest of the test set: of its classes in their order, and of the user's own images."""
        hashed = hashlib.sha256(self.spec.digest.encode())
        hashed.update(self.test_y.to(torch.int64).numpy().astype("<i8").tobytes())
        return hashed.hexdigest()[:16]

    def train_batches(
        self,
        seed: int,
        epoch: int,
        batch_size: int,
        device: Device = "cpu",
        *,
        skip: int = 0,
        blind: bool = False,
        part: Part = WHOLE,
        micro: int = 1,
    ) -> Iterator[ImageBatch]:
        """Return the batches of one epoch over the training images, shuffled and augmented.

        A pure function of (seed, epoch): after a crash an epoch is replayed without a stored random state. The first
        `skip` batches are not even read: the draws of an image do not depend on other images. With `blind` the images
        have no pixels. Each of several workers gets the images of its `part` of every batch, which consists of its
        parts of the `micro` micro-batches, and the classes of the whole batch: so all of them know its size.
        If images are mixed, classes are probabilities float32 [B, classes] instead.
        """
        order = self.rows[torch.randperm(len(self.rows), generator=generator(seed, "order", epoch))]
        batches = [order[start:end] for start, end in spans(len(order), batch_size)][skip:]
        own = batches if part == WHOLE else [torch.cat(part_of(rows, part, micro)) for rows in batches]
        make = partial(self.augmented, seed=seed, epoch=epoch, device=device)
        if self.strong.mixes:
            mixes = [self.strong.mix(self.input_shape[1:], seed, epoch, skip + n) for n in range(len(batches))]
            partners = [torch.cat(part_of(rows.roll(1), part, micro)) for rows in batches]
            # A worker also reads the partners of its images that belong to another worker; no image is read twice.
            pairs = [torch.unique(torch.cat(each), return_inverse=True) for each in zip(own, partners, strict=True)]
            places = at_once([place for _, place in pairs], device)
            read = self._batches(make, [rows for rows, _ in pairs], self.train_y, device, blind=blind)
            both = (x[place].tensor_split(2) for (x, _), place in zip(read, places, strict=True))
            mixed = (mix.images(*each) for mix, each in zip(mixes, both, strict=True))
            classes = [
                mix.classes(self.train_y[rows], self.num_classes) for mix, rows in zip(mixes, batches, strict=True)
            ]
            return zip(mixed, at_once(classes, device), strict=True)
        made = self._batches(make, own, self.train_y, device, blind=blind)
        if part == WHOLE:
            return made
        classes = [self.train_y[rows] for rows in batches]
        return ((x, whole) for (x, _), whole in zip(made, at_once(classes, device), strict=True))

    def test_batches(self, device: Device = "cpu", *, blind: bool = False, part: Part = WHOLE) -> Iterator[ImageBatch]:
        """Return the batches of the test set, or of one `part` of it, in order and never augmented.

        `blind` is as for `train_batches`.
        """
        (rows,) = part_of(torch.arange(len(self.test_y)), part)
        batches = torch.split(rows, self._at_once(device))
        make = partial(self.plain, "test", device=device)
        return self._batches(make, batches, self.test_y, device, blind=blind)

    def validation_batches(
        self, device: Device = "cpu", *, blind: bool = False, part: Part = WHOLE
    ) -> Iterator[ImageBatch]:
        """Return the batches of the held-out training images, never augmented; nothing if none are held out.

        `blind` and `part` are as for `test_batches`.
        """
        (rows,) = part_of(self.held_out, part)
        batches = torch.split(rows, self._at_once(device)) if len(self.held_out) else ()
        make = partial(self.plain, "train", device=device)
        return self._batches(make, batches, self.train_y, device, blind=blind)

    def scoring_batches(
        self, seed: int, samples_per_class: int = 10, device: Device = "cpu", draw: int = 0
    ) -> list[ImageBatch]:
        """Return `samples_per_class` training images of every class, shuffled, for pruners to score on.

        Each `draw` has other images. They are not augmented. The published programs augment them (and SynFlow's draws
        them without regard to class); plain images make a score a function of the seed and the images alone.

        Raises:
            DatasetError: if a class has fewer images.
        """
        order = self.rows[torch.randperm(len(self.rows), generator=generator(seed, "scoring", *[draw] * (draw > 0)))]
        counts = torch.bincount(self.train_y[self.rows], minlength=self.num_classes)
        if (fewest := int(counts.min())) < samples_per_class:
            raise DatasetError(
                f"samples_per_class: {samples_per_class} asked for, but class {int(counts.argmin())} of "
                f"'{self.spec.name}' has {fewest} training images"
            )
        chosen = order[balanced(self.train_y[order], samples_per_class)]
        batches = [chosen[start:end] for start, end in spans(len(chosen), SCORING_BATCH)]
        make = partial(self.plain, "train", device=device)
        return list(self._batches(make, batches, self.train_y, device))

    def _at_once(self, device: Device) -> int:
        """Return how many images to compute at once without gradients.

        As many as a GPU's memory holds, or the caches of a CPU (1.4 times faster).
        """
        large = max(self.input_shape) > 64
        if torch.device(device).type == "cpu":
            return 16 if large else 64
        return 100 if large else 500

    def _blanks(self, batches: Sequence[Tensor], device: Device) -> Iterator[Tensor]:
        """Yield batches of images without pixels, for a network that looks at none."""
        return (torch.empty(len(rows), self.input_shape[0], 0, 0, dtype=torch.uint8, device=device) for rows in batches)

    def _made_at_once(self, device: Device) -> int:
        """Return how many images are made at once, whatever the batch size; 0: each batch by itself."""
        return 0

    def _normalised(self, images: Iterator[Tensor], device: Device) -> Iterator[Tensor]:
        """Yield the uint8 images of `plain` and `augmented` as normalised float32 pixels on `device`."""
        return (normalise(x, self.spec.mean, self.spec.std) for x in images)

    def _batches(
        self,
        make: Callable[[Sequence[Tensor]], Iterator[Tensor]],
        batches: Sequence[Tensor],
        classes: Tensor,
        device: Device,
        *,
        blind: bool = False,
    ) -> Iterator[ImageBatch]:
        """Yield pixels and classes for each of `batches`, which hold rows; `make` returns the images of such batches.

        An image depends on its row alone. So a GPU makes the images of many batches with as many kernels as those of
        one batch, and the batches are views of them.
        """
        groups = grouped(batches, self._made_at_once(device))
        rows = [group[0] if len(group) == 1 else torch.cat(group) for group in groups]
        images = self._blanks(rows, device) if blind else make(rows)
        labels = at_once([classes[each] for each in rows], device)
        for x, y, group in zip(self._normalised(images, device), labels, groups, strict=True):
            # Not torch.split: its views cannot be changed in place while gradients are on, and a network may do that.
            start = 0
            for batch in group:
                yield x[start : start + len(batch)], y[start : start + len(batch)]
                start += len(batch)
