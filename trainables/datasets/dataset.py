"""What a dataset is: the images a trial reads, and the facts a plan needs before they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

Augment = Literal["none", "crop", "crop-flip"]


class DatasetError(ValueError):
    """Data that is missing, partial or not what it should be: one line, which file and what was expected."""


class Arrays(NamedTuple):
    """A dataset as it lies on disk: images uint8 [N, C, H, W], classes int64 [N]."""

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of a dataset, and how to get its images."""

    name: str
    summary: str
    input_shape: tuple[int, int, int]  # channels, height, width
    num_classes: int
    train_size: int
    test_size: int
    mean: tuple[float, ...]  # per channel, of pixel / 255 over the training set
    std: tuple[float, ...]
    padding: int  # pixels of black border, where crops are asked for
    # Gets the images from the files of one of `layouts` or, given none, from the network. What it downloads
    # or unpacks goes to the folder, which exists and is removed afterwards.
    read: Callable[[tuple[Path, ...] | None, Path], Arrays]
    layouts: tuple[tuple[str, ...], ...] = ()  # sets of files, each of which is the whole dataset
    url: str | None = None  # answers if a download is possible
    stand_in: str | None = None  # the dataset to take if this one is not on disk and that one is
    augment: Augment = "none"

    @property
    def comes_along(self) -> bool:
        """Whether an installed package holds it, so that there is nothing to find."""
        return not self.layouts and self.url is None


@dataclass(frozen=True)
class Dataset:
    """Images in memory. The tensors are maps of files: all processes of a machine share one copy."""

    name: str
    train_x: Tensor  # uint8 [N, C, H, W]
    train_y: Tensor  # int64 [N]
    test_x: Tensor
    test_y: Tensor
    mean: tuple[float, ...]  # per channel, of pixel / 255
    std: tuple[float, ...]
    num_classes: int
    augment: Augment
    padding: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train_x.shape
        return channels, height, width
