"""CIFAR-100, the original files."""

from __future__ import annotations

from functools import partial

from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.cifar10 import read
from trainables.datasets.spec import DatasetSpec

FOLDER = "cifar-100-python"

CIFAR100 = DatasetSpec(
    name="cifar100",
    summary="photographs of a hundred kinds of things, 32x32 colour",
    input_shape=(3, 32, 32),
    num_classes=100,
    train_size=50_000,
    test_size=10_000,
    smallest_class=500,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    read=partial(read, "CIFAR100"),
    layouts=(tuple(f"{FOLDER}/{file}" for file in ("train", "test", "meta")), ("cifar-100-python.tar.gz",)),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    augment=AUGMENTATIONS["pad4-flip"],
)
