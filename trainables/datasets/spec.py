"""Spec of a dataset: the facts that a plan needs before any image is read, and how to get the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from search_spaces.errors import choose
from trainables.datasets.augmentation import AUGMENTATIONS, NONE, Augmentation

DataPath = Literal["memory", "stream"]


class DatasetError(ValueError):
    """Error for data that is missing, incomplete or wrong: one line, which file and what was expected."""


class Arrays(NamedTuple):
    """Decoded dataset: images uint8 [N, C, H, W], classes int64 [N]."""

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


class Files(NamedTuple):
    """Dataset of image files: paths [N] as bytes, classes int64 [N].

    Arrays, not lists of strings: processes that read images are forked, and counting references to a million strings
    would copy them all into each process.
    """

    train: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


class Decoding(NamedTuple):
    """Facts of all images of a set, test images included, on which the pixels of each image depend."""

    white: tuple[tuple[str, float], ...] = ()  # (mode, value that becomes 255) for pixels of more than 8 bits
    ink: bool = False  # the alpha channel is the picture: all visible pixels have one colour

    @property
    def words(self) -> list[str]:
        """Return what the user should know about how images are read; nothing for 8 bits without an alpha channel."""
        scaled = [f"{mode} pixels scaled by {value:g}" for mode, value in self.white]
        return scaled + ["transparency taken as the picture"] * self.ink


@dataclass(frozen=True)
class DatasetSpec:
    """Facts of a dataset, and how to get its images: decoded once (`read`), or file by file (`index`)."""

    name: str
    summary: str
    input_shape: tuple[int, int, int]  # channels, height, width
    num_classes: int
    train_size: int
    test_size: int
    smallest_class: int  # training images of the class that has the fewest
    mean: tuple[float, ...]  # per channel, of pixel / 255 over the training set
    std: tuple[float, ...]
    # Reads the images from the files of one of `layouts` or, if given None, downloads them. Downloaded and unpacked
    # files go to the folder, its second argument, which exists and is removed afterwards.
    read: Callable[[tuple[Path, ...] | None, Path], Arrays] | None = None
    index: Callable[[tuple[Path, ...] | None], Files] | None = None  # instead of `read`, for files that stay
    layouts: tuple[tuple[str, ...], ...] = ()  # sets of files, each of which is the whole dataset
    url: str | None = None  # a server answers here if a download is possible
    stand_in: str | None = None  # the dataset to use if this one is not on disk and that one is
    augment: Augmentation = NONE  # of training images, unless a trial asks for another
    digest: str = ""  # of the images, if the name alone does not identify them
    decoding: Decoding | None = None  # how image files become 8 bits; None: as Pillow converts them
    cached_as: str = ""  # name of its folder in the cache, if `name` cannot be one

    @property
    def comes_along(self) -> bool:
        """Return True if the dataset needs no search: it has no files to look for and no download."""
        return not self.layouts and self.url is None

    @property
    def path(self) -> DataPath:
        """Return how trials read it: "memory" (decoded once and mapped) or "stream" (decoded each time by workers)."""
        return "memory" if self.index is None else "stream"

    def augmentation(self, asked: str) -> str:
        """Return the value recorded for the augmentation that a space asks for: "" for the dataset's own.

        Raises:
            ValueError: if there is no augmentation of that name, with the nearest name.
        """
        return "" if AUGMENTATIONS[choose("augment", asked, AUGMENTATIONS)] == self.augment else asked
