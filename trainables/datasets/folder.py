"""A folder of the user's own images: PATH/train/CLASS/… and PATH/test/CLASS/… (or PATH/val/CLASS/…)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from trainables.datasets.images import by_class, decode, flat, opened
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec, Files

LARGEST = 2**31  # bytes of pixels that are decoded once and kept; what is more is streamed
SIDE = 224  # pixels to which streamed images are cut
# Of the photographs of ImageNet, and of their lightness: near enough for any images.
STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


@cache
def describe(path: str) -> DatasetSpec:
    """The facts of the folder `path`, read from its files' names and, until two sizes differ, their headers.

    Images of one size are decoded once and kept in memory, unless that takes more than 2 GiB; others are streamed
    and cut to 224x224. Grey if all are, else colour.

    Raises:
        DatasetError: if it is not laid out as above, or an image is none.
    """
    root = Path(path).expanduser().resolve()
    test = root / ("test" if (root / "test").is_dir() else "val")
    for part in (root / "train", test):
        if not part.is_dir():
            wanted = f"{root}/train/CLASS/… and {root}/test/CLASS/… or {root}/val/CLASS/…"
            raise DatasetError(f"dataset: {part} is not a folder (expected {wanted})")
    trained_on, tested_on = by_class(root / "train"), by_class(test)
    for name in sorted(trained_on.keys() ^ tested_on.keys()):
        raise DatasetError(f"dataset: {(test if name in trained_on else root / 'train') / name} is missing")
    files = Files(*flat(trained_on.values()), *flat(tested_on.values()))
    digest = _digest(root, files)
    shape = common_shape([*files.train, *files.test])
    channels, *_ = shape or (3,)
    size = f"{shape[2]}x{shape[1]}" if shape else f"of several sizes or many, streamed and cut to {SIDE}x{SIDE}"
    mean, std = STATISTICS[channels]
    return DatasetSpec(
        name=f"folder:{root}",
        summary=f"{len(files.train)} + {len(files.test)} images of {len(trained_on)} classes, {size}",
        input_shape=shape or (3, SIDE, SIDE),
        num_classes=len(trained_on),
        train_size=len(files.train),
        test_size=len(files.test),
        smallest_class=min(map(len, trained_on.values())),
        mean=mean,
        std=std,
        padding=min(shape[1:]) // 8 if shape else 0,
        read=partial(_read, files, shape) if shape else None,
        index=None if shape else lambda _: files,
        augment="crop-flip",
        digest=digest,
        cached_as=f"folder-{root.name}-{hashlib.sha256(f'{root} {digest}'.encode()).hexdigest()[:16]}",
    )


def common_shape(paths: Sequence[bytes]) -> tuple[int, int, int] | None:
    """Channels, height and width that all these images have; None if they have several sizes or are too many."""
    sizes, modes = set(), set()
    for path in paths:
        with opened(path) as image:
            sizes.add(image.size)
            modes.add(image.mode)
        if len(sizes) > 1 or 3 * image.size[0] * image.size[1] * len(paths) > LARGEST:
            return None
    width, height = sizes.pop()
    return 1 if modes <= {"1", "L"} else 3, height, width


def _read(files: Files, shape: tuple[int, int, int], _: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    train = decode(files.train, shape, scratch / "train.npy")
    return Arrays(train, files.train_y, decode(files.test, shape, scratch / "test.npy"), files.test_y)


def _digest(root: Path, files: Files) -> str:
    """A hash of the names and sizes of all files: cheap, and other images have others."""
    hashed = hashlib.sha256()
    for path in np.concatenate([files.train, files.test]):
        name = os.path.relpath(path, os.fsencode(root))
        hashed.update(b"%s\0%d\n" % (name, os.stat(path).st_size))  # noqa: PTH116 - a million times
    return hashed.hexdigest()[:16]
