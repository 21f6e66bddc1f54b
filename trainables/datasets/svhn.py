"""SVHN: cropped digits of house numbers seen from the street (Netzer et al. 2011), without the extra set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.sources import check_md5
from trainables.datasets.spec import Arrays, DatasetSpec

FILES = ("train_32x32.mat", "test_32x32.mat")


def _read(files: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    from torchvision.datasets import SVHN as ORIGINAL

    splits = ("train", "test")
    if files is None:
        for split in splits:
            ORIGINAL(scratch, split, download=True)
        files = tuple(scratch / file for file in FILES)
    for file, split in zip(files, splits, strict=True):
        check_md5(file, ORIGINAL.split_list[split][2])
    train, test = (ORIGINAL(files[0].parent, split) for split in splits)
    return Arrays(
        np.ascontiguousarray(train.data),
        train.labels.astype(np.int64),
        np.ascontiguousarray(test.data),
        test.labels.astype(np.int64),
    )


SVHN = DatasetSpec(
    name="svhn",
    summary="digits of house numbers, 32x32 colour",
    input_shape=(3, 32, 32),
    num_classes=10,
    train_size=73_257,
    test_size=26_032,
    smallest_class=4659,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    read=_read,
    layouts=(FILES, tuple(f"SVHN/{file}" for file in FILES)),
    url="http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
    augment=AUGMENTATIONS["pad4"],  # a mirrored digit is no digit
)
