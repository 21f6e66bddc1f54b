"""Batches of a dataset in memory: training (shuffled, augmented), testing and scoring."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.errors import choose
from trainables.datasets.dataset import Augment, Dataset, DatasetError
from trainables.randomness import generator

Batch = tuple[Tensor, Tensor]  # images float32 [B, C, H, W], normalised; classes int64 [B]


def train_batches(
    dataset: Dataset,
    seed: int,
    epoch: int,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    augment: Augment | None = None,
) -> Iterator[Batch]:
    """One epoch of the training set, `augment` as the dataset's own default unless given.

    A pure function of (seed, epoch): after a crash an epoch is replayed, with no random state stored. What is
    drawn belongs to an image, so order, crops and flips do not shift each other.

    Raises:
        ValueError: if `augment` is not known.
    """
    augment = augment or dataset.augment
    choose("augment", augment, get_args(Augment))
    n, border = len(dataset.train_y), dataset.padding
    order = torch.randperm(n, generator=generator(seed, "order", epoch))
    corners = torch.randint(2 * border + 1, (2, n), generator=generator(seed, "crop", epoch))
    mirrored = torch.randint(2, (n,), generator=generator(seed, "flip", epoch))
    if augment == "crop":
        mirrored.zero_()
    draws = torch.stack([*corners, mirrored])[:, order].to(device)
    for start, end in _spans(n, batch_size):
        batch = order[start:end]
        x = dataset.train_x.index_select(0, batch).to(device)
        if augment != "none":
            x = _crop(x, border, *draws[:, start:end])
        yield _normalise(x, dataset), dataset.train_y[batch].to(device)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """How many batches `train_batches` makes of n images."""
    return sum(1 for _ in _spans(n, batch_size))


def test_batches(dataset: Dataset, batch_size: int = 500, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """The whole test set in its order, never augmented."""
    for start in range(0, len(dataset.test_y), batch_size):
        batch = slice(start, start + batch_size)
        yield _normalise(dataset.test_x[batch].to(device), dataset), dataset.test_y[batch].to(device)


def scoring_batches(
    dataset: Dataset,
    seed: int,
    samples_per_class: int = 10,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> list[Batch]:
    """`samples_per_class` training images of every class, shuffled: what pruners score on.

    Plain images. The published programs augment them (and SynFlow's draws them without regard to class);
    plain ones make a score a function of the seed and the images alone.

    Raises:
        DatasetError: if a class has fewer images.
    """
    order = torch.randperm(len(dataset.train_y), generator=generator(seed, "scoring"))
    classes = dataset.train_y[order]
    places = [(classes == c).nonzero()[:samples_per_class, 0] for c in range(dataset.num_classes)]
    for c, found in enumerate(places):
        if len(found) < samples_per_class:
            raise DatasetError(
                f"samples_per_class: {samples_per_class} asked for, but class {c} of '{dataset.name}' "
                f"has {len(found)} training images"
            )
    chosen = order[torch.cat(places).sort().values]
    x = _normalise(dataset.train_x[chosen].to(device), dataset)
    y = dataset.train_y[chosen].to(device)
    return [(x[start:end], y[start:end]) for start, end in _spans(len(chosen), batch_size)]


def _spans(n: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of batches that cover n images. The last may be smaller, but not a single image.

    Batch norm has no variance to divide by in a batch of one: torch refuses it where maps are 1x1, and
    elsewhere it trains on noise. Dropping the image would leave some unseen, so it joins the batch before.
    """
    edges = [*range(0, n, batch_size), n]
    if n % batch_size == 1 and len(edges) > 2:
        del edges[-2]
    return pairwise(edges)


def _crop(x: Tensor, border: int, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Each image of [B, C, H, W] shifted by up to `border` pixels over black, mirrored where `mirrored` is 1.

    Whole batches at once: `unfold` makes all crops of all images, and of their mirror images, addressable
    without a copy, and one indexing takes one of each. Padding every batch is as fast as padding the training
    set once (0.24 s an epoch of CIFAR-10 on one thread), and saves each process a padded copy of 240 MB.
    """
    height, width = x.shape[2:]
    x = F.pad(x, [border] * 4)
    windows = torch.cat([x, x.flip(-1)]).unfold(2, height, 1).unfold(3, width, 1)
    which = torch.arange(len(x), device=x.device) + len(x) * mirrored
    return windows[which, :, top, left]


def _normalise(x: Tensor, dataset: Dataset) -> Tensor:
    """(x / 255 - mean) / std per channel, bit for bit torchvision's ToTensor and Normalize."""
    mean = torch.tensor(dataset.mean, device=x.device).view(-1, 1, 1)
    std = torch.tensor(dataset.std, device=x.device).view(-1, 1, 1)
    # A tensor of 255, because CUDA divides by a plain number by multiplying with its rounded inverse.
    return x.float().div_(torch.full_like(mean, 255)).sub_(mean).div_(std)
