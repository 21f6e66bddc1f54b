"""The facts of a dataset, which a plan needs before any image is read, and how its images are had."""

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
    """Data that is missing, partial or not what it should be: one line, which file and what was expected."""


class Arrays(NamedTuple):
    """A dataset as it lies on disk: images uint8 [N, C, H, W], classes int64 [N]."""

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


class Files(NamedTuple):
    """A dataset as image files: paths [N] as bytes, classes int64 [N].

    Arrays and not lists of strings: processes that read images are forked, and counting references to a million
    strings would copy them all into each.
    """

    train: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


class Decoding(NamedTuple):
    """Facts of all images of a set, of tests too, that the pixels of each depend on."""

    white: tuple[tuple[str, float], ...] = ()  # by mode, the value of pixels of more than 8 bits that becomes 255
    ink: bool = False  # the alpha channel is the picture: all that can be seen has one colour

    @property
    def words(self) -> list[str]:
        """What a user should know of how his images are read; nothing of images of 8 bits without alpha channel."""
        scaled = [f"{mode} pixels scaled by {value:g}" for mode, value in self.white]
        return scaled + ["transparency taken as the picture"] * self.ink


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of a dataset, and how to get its images: decoded once (`read`), or file by file (`index`)."""

    name: str
    summary: str
    input_shape: tuple[int, int, int]  # channels, height, width
    num_classes: int
    train_size: int
    test_size: int
    smallest_class: int  # training images of the class that has the fewest
    mean: tuple[float, ...]  # per channel, of pixel / 255 over the training set
    std: tuple[float, ...]
    # Gets the images from the files of one of `layouts` or, given none, from the network. What it downloads
    # or unpacks goes to the folder, which exists and is removed afterwards.
    read: Callable[[tuple[Path, ...] | None, Path], Arrays] | None = None
    index: Callable[[tuple[Path, ...] | None], Files] | None = None  # instead of `read`, of files that stay
    layouts: tuple[tuple[str, ...], ...] = ()  # sets of files, each of which is the whole dataset
    url: str | None = None  # answers if a download is possible
    stand_in: str | None = None  # the dataset to take if this one is not on disk and that one is
    augment: Augmentation = NONE  # of training images, unless a trial asks for another
    digest: str = ""  # of the images, where the name alone does not say which they are
    decoding: Decoding | None = None  # of image files: how they become 8 bits; None: as Pillow has it
    cached_as: str = ""  # its folder in the cache, where the name cannot be one

    @property
    def comes_along(self) -> bool:
        """Whether its files are known to be there, so that there is nothing to find."""
        return not self.layouts and self.url is None

    @property
    def path(self) -> DataPath:
        """How trials read it: "memory", decoded once and mapped, or "stream", decoded each time by workers."""
        return "memory" if self.index is None else "stream"

    def augmentation(self, asked: str) -> str:
        """What a trial's record says for the augmentation that a space asks for: "" for the dataset's own.

        Raises:
            ValueError: if there is none of that name, with the nearest.
        """
        return "" if AUGMENTATIONS[choose("augment", asked, AUGMENTATIONS)] == self.augment else asked
