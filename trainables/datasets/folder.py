"""Folder of the user's own images: PATH/train/CLASS/… and PATH/test/CLASS/… (or PATH/val/CLASS/…)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainables.datasets.augmentation import AUGMENTATIONS, shifted
from trainables.datasets.images import by_class, flat
from trainables.datasets.pixels import decode, survey
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec, Decoding, Files

LARGEST = 2**31  # bytes of pixels that are decoded once and kept; larger sets are streamed
DECODER = 1  # increased when the same files give other pixels than before
SIDE = 224  # height and width, in pixels, to which streamed images are cropped
# Mean and standard deviation of ImageNet's photographs in colour, and in grey: near enough for any images.
STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


class _Facts(NamedTuple):
    """Facts that must be read from the images themselves, which takes time."""

    shape: tuple[int, int, int] | None  # channels, height, width of all images; None if they are streamed
    decoding: Decoding
    altered: bool  # as in `Survey`


_described: dict[Path, DatasetSpec] = {}
_facts: dict[str, _Facts] = {}  # keyed by a hash of the names, sizes and times of all files


def describe(path: str, cache: Path) -> DatasetSpec:
    """Return the spec of the folder `path`, made from its files.

    This process remembers it, and so does `cache` if trials ran there. Images of one size are decoded once and kept in
    memory, unless that takes more than 2 GiB; others are streamed and cropped to 224x224. The images are grey if all
    are, else colour; streamed images are always colour.

    Raises:
        DatasetError: if it is not laid out as above, has only one class, or an image cannot be read.
    """
    root = Path(path).expanduser().resolve()
    if root not in _described:
        _described[root] = _describe(root, cache)
    return _described[root]


def forget(path: str) -> None:
    """Drop the remembered spec of the folder `path`, because its files may have changed."""
    _described.pop(Path(path).expanduser().resolve(), None)


def remember(spec: DatasetSpec, cache: Path) -> None:
    """Write the facts read from the images of the folder `spec` into `cache`, for other processes."""
    file = cache / f"{spec.cached_as}.json"
    if spec.cached_as in _facts and not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        written = cache / f"{spec.cached_as}.{os.getpid()}.json"
        written.write_text(json.dumps(_facts[spec.cached_as]), encoding="utf-8")
        written.replace(file)


def _describe(root: Path, cache: Path) -> DatasetSpec:
    test = root / ("test" if (root / "test").is_dir() else "val")
    for part in (root / "train", test):
        if not part.is_dir():
            wanted = f"{root}/train/CLASS/… and {root}/test/CLASS/… or {root}/val/CLASS/…"
            raise DatasetError(f"dataset: {part} is not a folder (expected {wanted})")
    trained_on, tested_on = by_class(root / "train"), by_class(test)
    for name in sorted(trained_on.keys() ^ tested_on.keys()):
        raise DatasetError(f"dataset: {(test if name in trained_on else root / 'train') / name} is missing")
    if len(trained_on) < 2:
        raise DatasetError(f"dataset: {root / 'train'} has one class, '{min(trained_on)}', expected two or more")
    files = Files(*flat(trained_on.values()), *flat(tested_on.values()))
    digest, times = _digest(root, files)
    key = hashlib.sha256(f"{root} {digest} {times} {DECODER}".encode()).hexdigest()[:16]
    cached_as = f"folder-{root.name}-{key}"
    facts = _facts[cached_as] = _facts.get(cached_as) or _known(cache / f"{cached_as}.json") or _learn(files)
    if facts.altered:  # the same files decoded in another way count as other images
        digest = hashlib.sha256(f"{digest} {facts.decoding}".encode()).hexdigest()[:16]
    shape = facts.shape
    channels, *_ = shape or (3,)
    size = f"{shape[2]}x{shape[1]}" if shape else f"of several sizes or many, streamed and cut to {SIDE}x{SIDE}"
    mean, std = STATISTICS[channels]
    return DatasetSpec(
        name=f"folder:{root}",
        summary=", ".join(
            [f"{len(files.train)} + {len(files.test)} images of {len(trained_on)} classes", size, *facts.decoding.words]
        ),
        input_shape=shape or (3, SIDE, SIDE),
        num_classes=len(trained_on),
        train_size=len(files.train),
        test_size=len(files.test),
        smallest_class=min(map(len, trained_on.values())),
        mean=mean,
        std=std,
        read=partial(_read, files, shape, facts.decoding) if shape else None,
        index=None if shape else lambda _: files,
        augment=shifted(min(shape[1:])) if shape else AUGMENTATIONS["resized-crop-flip"],
        digest=digest,
        decoding=facts.decoding,
        cached_as=cached_as,
    )


def _learn(files: Files) -> _Facts:
    paths = [*files.train, *files.test]
    found = survey(paths, most=LARGEST / 3)
    width, height = min(found.sizes)
    in_memory = len(found.sizes) == 1 and 3 * width * height * len(paths) <= LARGEST
    return _Facts((1 if found.grey else 3, height, width) if in_memory else None, found.decoding, found.altered)


def _known(file: Path) -> _Facts | None:
    """Return the facts that another process wrote for the same files; None if there are none that can be used."""
    try:
        shape, (white, ink), altered = json.loads(file.read_text(encoding="utf-8"))
        channels, height, width = shape or (0, 0, 0)
        decoding = Decoding(tuple((str(mode), float(value)) for mode, value in white), bool(ink))
    except (OSError, ValueError, TypeError):
        return None
    return _Facts((channels, height, width) if shape else None, decoding, bool(altered))


def _read(
    files: Files, shape: tuple[int, int, int], decoding: Decoding, _: tuple[Path, ...] | None, scratch: Path
) -> Arrays:
    train = decode(files.train, shape, scratch / "train.npy", decoding=decoding)
    test = decode(files.test, shape, scratch / "test.npy", decoding=decoding)
    return Arrays(train, files.train_y, test, files.test_y)


def _digest(root: Path, files: Files) -> tuple[str, str]:
    """Return a hash of the names and sizes of all files, and a hash of their modification times.

    Names and sizes are cheap to read, and other images have others. The times keep the cache from serving pixels of
    files that were replaced: uncompressed images that are written anew have the same size.

    Raises:
        DatasetError: if a file is empty, cannot be read, or is not a regular file.
    """
    hashed, times = hashlib.sha256(), hashlib.sha256()
    for path in np.concatenate([files.train, files.test]):
        name = os.path.relpath(path, os.fsencode(root))
        try:
            found = os.stat(path)  # noqa: PTH116 - a million times
        except OSError as error:
            raise DatasetError(f"dataset: {os.fsdecode(path)} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            raise DatasetError(f"dataset: {os.fsdecode(path)} is {'empty' if not found.st_size else 'not a file'}")
        hashed.update(b"%s\0%d\n" % (name, found.st_size))
        times.update(b"%d\n" % found.st_mtime_ns)
    return hashed.hexdigest()[:16], times.hexdigest()[:16]
