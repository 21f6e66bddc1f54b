"""Image files: which a folder holds, and how they are opened."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pruners.errors import words
from trainables.datasets.spec import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Images all the same, that would be missing without a word. JPEG 2000, HEIC and others need what not every Pillow has.
NOT_READ = (".gif", ".jp2", ".avif", ".heic", ".tga", ".dcm", ".exr", ".hdr", ".pfm", ".npy", ".npz")
Content = Callable[[int], bytes | None]  # the bytes of an image by its row; None: it is a file


def from_files(row: int) -> None:
    """No image's bytes are at hand."""


def hidden(name: str) -> bool:
    """Return True for what programs leave beside the user's files: .DS_Store, ._x.png, .ipynb_checkpoints, __MACOSX."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir", "Thumbs.db"}


def image_files(folder: Path) -> list[str]:
    """The paths of all images under `folder`, sorted; hidden files and folders, and what is no image, are passed over.

    Raises:
        DatasetError: if a folder cannot be read or is found twice, by a link, or an image is of no kind read.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"dataset: {error.filename} cannot be read: {error.strerror}") from error

    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not hidden(name)]
        real = os.path.realpath(parent)
        if real in seen:
            raise DatasetError(f"dataset: {parent} is a link to a folder that counts already")
        seen.add(real)
        found += [f"{parent}/{name}" for name in names if is_image(parent, name)]
    return sorted(found)


def is_image(folder: str, name: str) -> bool:
    """Return whether the name is that of an image that is read.

    Raises:
        DatasetError: if it is that of an image of another kind.
    """
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return not hidden(name)
    if lower.endswith(NOT_READ) and not hidden(name):
        raise DatasetError(f"dataset: {folder}/{name} is of a kind that is not read (expected {', '.join(SUFFIXES)})")
    return False


def by_class(folder: Path) -> dict[str, list[str]]:
    """The images of `folder`/CLASS/… by class, classes sorted.

    Raises:
        DatasetError: if it has no folders, or one of them no image, or cannot be read, or images lie beside them.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"dataset: {folder} cannot be read: {error.strerror}") from error
    classes = [entry.name for entry in entries if entry.is_dir() and not hidden(entry.name)]
    for entry in entries:
        if not entry.is_dir() and is_image(str(folder), entry.name):
            raise DatasetError(f"dataset: {entry} lies in no class, expected {folder}/CLASS/{entry.name}")
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
    except DatasetError:  # from inside, and says what it is
        raise
    except Exception as error:  # of a torn file Pillow raises nearly any: OSError, SyntaxError, TypeError, struct.error
        raise DatasetError(f"dataset: {os.fsdecode(path)} is not a whole image: {words(error)}") from error
