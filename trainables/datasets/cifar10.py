"""CIFAR-10, the original files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.sources import check_md5, copy_checked
from trainables.datasets.spec import Arrays, DatasetSpec

FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
LAYOUTS = (tuple(f"{FOLDER}/{file}" for file in (*BATCHES, "batches.meta")), ("cifar-10-python.tar.gz",))


def read(family: str, files: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    """Return the images of torchvision's `family`, from its files, their archive or a download.

    Raises:
        DatasetError: if a file is not the published one.
    """
    from torchvision import datasets

    original = {"CIFAR10": datasets.CIFAR10, "CIFAR100": datasets.CIFAR100}[family]
    # In the order of the spec's layout.
    published = [*original.train_list, *original.test_list, (original.meta["filename"], original.meta["md5"])]
    if files is None or len(files) == 1:
        if files is not None:  # torchvision unpacks what it finds and downloads nothing
            copy_checked(files[0], original.tgz_md5, to=scratch)
        original(scratch, download=True)
        files = tuple(scratch / original.base_folder / name for name, _ in published)
    # These are pickles: they are opened only if their md5 is the published one. torchvision checks it too, but does
    # not say which file is wrong.
    for file, (_, md5) in zip(files, published, strict=True):
        check_md5(file, md5)
    root = files[0].parents[1]
    train, test = original(root, train=True), original(root, train=False)
    return Arrays(
        np.ascontiguousarray(train.data.transpose(0, 3, 1, 2)),
        np.array(train.targets, dtype=np.int64),
        np.ascontiguousarray(test.data.transpose(0, 3, 1, 2)),
        np.array(test.targets, dtype=np.int64),
    )


CIFAR10 = DatasetSpec(
    name="cifar10",
    summary="photographs of ten kinds of things, 32x32 colour",
    input_shape=(3, 32, 32),
    num_classes=10,
    train_size=50_000,
    test_size=10_000,
    smallest_class=5000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    read=partial(read, "CIFAR10"),
    layouts=LAYOUTS,
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    stand_in="cifar10-jpeg75",
    augment=AUGMENTATIONS["pad4-flip"],
)
