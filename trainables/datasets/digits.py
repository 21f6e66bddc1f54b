"""Handwritten digits, 8x8, from scikit-learn: available on any machine without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.datasets.spec import Arrays, DatasetSpec


def _read(_: tuple[Path, ...] | None, __: Path) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images.astype(np.uint8)[:, None]  # whole numbers from 0 to 16, not rescaled
    y = digits.target.astype(np.int64)
    # Every fifth image, in the order of classes, is for testing. No seed and no version can change a split by position.
    by_class = np.argsort(y, kind="stable")
    test = np.sort(by_class[::5])
    train = np.setdiff1d(by_class, test)
    return Arrays(x[train], y[train], x[test], y[test])


DIGITS = DatasetSpec(
    name="digits",
    summary="handwritten digits of scikit-learn, 8x8 grey, no download",
    input_shape=(1, 8, 8),
    num_classes=10,
    train_size=1437,
    test_size=360,
    smallest_class=139,
    mean=(0.019185,),  # of pixel / 255, as for all datasets, although these pixels end at 16
    std=(0.023606,),
    read=_read,
)
