"""Image files: which a folder holds, and their pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.datasets.spec import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB"}  # of so many channels


def image_files(folder: Path) -> list[str]:
    """The paths of all images under `folder`, sorted; other files are passed over.

    Raises:
        DatasetError: if a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"dataset: {error.filename} cannot be read: {error.strerror}") from error

    found = []
    for parent, _, names in os.walk(folder, followlinks=True, onerror=refuse):
        found += [f"{parent}/{name}" for name in names if name.lower().endswith(SUFFIXES)]
    return sorted(found)


def by_class(folder: Path) -> dict[str, list[str]]:
    """The images of `folder`/CLASS/… by class, classes sorted.

    Raises:
        DatasetError: if it has no folders, or one of them no image, or cannot be read.
    """
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"dataset: {folder} cannot be read: {error.strerror}") from error
    if not classes:
        raise DatasetError(f"dataset: {folder} has no folders of images, one for each class")
    found = {name: image_files(folder / name) for name in classes}
    for name, files in found.items():
        if not files:
            raise DatasetError(f"dataset: {folder / name} has no image (expected {', '.join(SUFFIXES)})")
    return found


def flat(found: Iterable[Sequence[str]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Paths as bytes [N] and classes int64 [N] of the files of each class in turn."""
    groups = list(found)
    paths = np.array([os.fsencode(path) for group in groups for path in group])
    return paths, np.repeat(np.arange(len(groups), dtype=np.int64), [len(group) for group in groups])


@contextmanager
def opened(path: str | bytes, content: bytes | None = None) -> Iterator[Image.Image]:
    """The image of that file, or of its `content` if that is at hand; its pixels not yet decoded.

    Raises:
        DatasetError: if it is not a whole image, also while it is decoded inside.
    """
    try:
        with Image.open(os.fsdecode(path) if content is None else io.BytesIO(content)) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all of which Pillow raises
        raise DatasetError(f"dataset: {os.fsdecode(path)} is not a whole image: {error}") from error


def decode(
    paths: Sequence[bytes] | np.ndarray[Any, Any],
    shape: tuple[int, int, int],
    file: Path,
    content: Callable[[int], bytes | None] = lambda index: None,
) -> np.ndarray[Any, Any]:
    """All images as uint8 [N, C, H, W], in `file` and mapped: they may be more than fits into memory.

    `content` gives the bytes of an image that is no file of its own.

    Raises:
        DatasetError: if one is not a whole image of that `shape` (C, H, W), naming it.
    """
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, (len(paths), *shape))

    def fill(index: int) -> None:
        with opened(paths[index], content(index)) as image:
            if image.size != (shape[2], shape[1]):
                size = "×".join(map(str, image.size))
                raise DatasetError(
                    f"dataset: {os.fsdecode(paths[index])} has {size} pixels, expected {shape[2]}×{shape[1]}"
                )
            pixels[index] = np.asarray(image.convert(MODES[shape[0]])).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes
        for _ in pool.map(fill, range(len(paths))):
            pass
    return pixels
