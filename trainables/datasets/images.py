"""Image files: find them in a folder, and open them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pruners.errors import message_of
from trainables.datasets.spec import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Other images: rejected, because skipping them would be silent. Not every Pillow can read JPEG 2000, HEIC and others.
NOT_READ = (".gif", ".jp2", ".avif", ".heic", ".tga", ".dcm", ".exr", ".hdr", ".pfm", ".npy", ".npz")
Content = Callable[[int], bytes | None]  # returns the bytes of an image by its row; None: read them from its file


def from_files(row: int) -> None:
    """Return None for every row: the bytes of all images are in files."""


def hidden(name: str) -> bool:
    """Return True for what programs leave beside the user's files: .DS_Store, ._x.png, .ipynb_checkpoints, __MACOSX."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir", "Thumbs.db"}


def image_files(folder: Path) -> list[str]:
    """Return the paths of all images under `folder`, sorted; skip hidden entries and files that are no images.

    Raises:
        DatasetError: if a folder cannot be read or is found twice, through a link, or an image is of a kind not read.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"dataset: {error.filename} cannot be read: {error.strerror}") from error

    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not hidden(name)]
        real = os.path.realpath(parent)
        if real in seen:
            raise DatasetError(f"dataset: {parent} is a link to a folder that is read already")
        seen.add(real)
        found += [f"{parent}/{name}" for name in names if is_image(parent, name)]
    return sorted(found)


def is_image(folder: str, name: str) -> bool:
    """Return True if the name is that of an image of a kind that is read.

    Raises:
        DatasetError: if it is that of an image of another kind.
    """
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return not hidden(name)
    if lower.endswith(NOT_READ) and not hidden(name):
        raise DatasetError(
            f"dataset: {folder}/{name} is of a type that is not supported (expected {', '.join(SUFFIXES)})"
        )
    return False


def by_class(folder: Path) -> dict[str, list[str]]:
    """Return the images of `folder`/CLASS/… by class, with the classes sorted.

    Raises:
        DatasetError: if a folder cannot be read, there are no classes, a class has no image, or images are in no class.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"dataset: {folder} cannot be read: {error.strerror}") from error
    classes = [entry.name for entry in entries if entry.is_dir() and not hidden(entry.name)]
    for entry in entries:
        if not entry.is_dir() and is_image(str(folder), entry.name):
            raise DatasetError(f"dataset: {entry} is not in a folder of a class, expected {folder}/CLASS/{entry.name}")
    if not classes:
        raise DatasetError(f"dataset: {folder} has no folders of images, one for each class")
    found = {name: image_files(folder / name) for name in classes}
    for name, files in found.items():
        if not files:
            raise DatasetError(f"dataset: {folder / name} has no image (expected {', '.join(SUFFIXES)})")
    return found


def flat(found: Iterable[Sequence[str]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return paths as bytes [N] and classes int64 [N] of the files, class after class."""
    groups = list(found)
    paths = np.array([os.fsencode(path) for group in groups for path in group])
    return paths, np.repeat(np.arange(len(groups), dtype=np.int64), [len(group) for group in groups])


@contextmanager
def opened(path: str | bytes, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open the image of a file, or of its `content` if given; its pixels are not yet decoded.

    Raises:
        DatasetError: if it is not a whole image, also when it is decoded inside the context.
    """
    try:
        with Image.open(os.fsdecode(path) if content is None else io.BytesIO(content)) as image:
            yield image
    except DatasetError:  # raised inside the context, with its own message
        raise
    except Exception as error:  # for a truncated file Pillow raises OSError, SyntaxError, TypeError, struct.error, …
        raise DatasetError(f"dataset: {os.fsdecode(path)} is not a whole image: {message_of(error)}") from error
