"""Validation split: training images are held out to choose by, so that the test set is only for the final number."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.datasets.spec import DatasetError, DatasetSpec
from trainables.randomness import generator


def training_part(spec: DatasetSpec, share: float) -> tuple[int, int]:
    """Return how many training images are left if `share` of them is held out, and how many at least of each class.

    Raises:
        DatasetError: if a class might be left without an image on either side.
    """
    n, held = spec.train_size, _held(spec.train_size, share)
    fewest, most = spec.smallest_class * held // n, -(-spec.smallest_class * held // n)
    if share and (fewest < 1 or most >= spec.smallest_class):
        raise DatasetError(
            f"validation: {share:g} is not allowed; a class of '{spec.name}' has {spec.smallest_class} training "
            f"images, and {share:g} of them leave {'none for validation' if fewest < 1 else 'none for training'}"
        )
    return n - held, spec.smallest_class - most


def split(classes: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return rows to train on and rows to hold out, both ascending, of images of these `classes` (int64 [N]).

    The share of each class is `share`, rounded up or down. The split depends on the dataset alone, not on the trial's
    seed: trials that are compared on held-out images must have held out the same ones.
    """
    n = len(classes)
    held = _held(n, share)
    shuffled = torch.randperm(n, generator=generator(0, "validation"))
    by_class = shuffled[classes[shuffled].argsort(stable=True)]
    # Evenly spaced positions in the order of the classes: so each class gets its share, rounded up or down.
    chosen = by_class[(2 * torch.arange(held) + 1) * n // max(2 * held, 1)]
    left = torch.ones(n, dtype=torch.bool)
    left[chosen] = False
    return left.nonzero()[:, 0], (~left).nonzero()[:, 0]


def _held(n: int, share: float) -> int:
    return round(share * n)
