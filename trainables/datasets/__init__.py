"""Datasets by name. To add one, write its file and two lines below."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from search_spaces.errors import choose
from trainables.datasets import folder, hugging_face
from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.cache import decoded, map_arrays
from trainables.datasets.cifar10 import CIFAR10
from trainables.datasets.cifar10_jpeg75 import CIFAR10_JPEG75
from trainables.datasets.cifar100 import CIFAR100
from trainables.datasets.dataset import Dataset
from trainables.datasets.digits import DIGITS
from trainables.datasets.imagenet import IMAGENET
from trainables.datasets.memory import InMemory
from trainables.datasets.mnist import FASHION_MNIST, MNIST
from trainables.datasets.sources import locate, reachable
from trainables.datasets.spec import DatasetError, DatasetSpec
from trainables.datasets.split import split, training_part
from trainables.datasets.stream import Streamed
from trainables.datasets.strong_augmentation import NO_STRONG, StrongAugmentation
from trainables.datasets.svhn import SVHN
from trainables.datasets.synthetic import SYNTHETIC_32, SYNTHETIC_224
from trainables.datasets.tiny_imagenet import TINY_IMAGENET

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "OWN",
    "Dataset",
    "DatasetError",
    "DatasetSpec",
    "load",
    "lookup",
    "resolve",
    "training_part",
]

DATASETS = {
    "digits": DIGITS,
    "mnist": MNIST,
    "fashion-mnist": FASHION_MNIST,
    "cifar10": CIFAR10,
    "cifar10-jpeg75": CIFAR10_JPEG75,
    "cifar100": CIFAR100,
    "svhn": SVHN,
    "tiny-imagenet": TINY_IMAGENET,
    "imagenet": IMAGENET,
    "synthetic-32": SYNTHETIC_32,
    "synthetic-224": SYNTHETIC_224,
}
OWN = {  # the user's own: their specs are made from what is there
    "folder:PATH": "images of your own, as PATH/train/CLASS/… and PATH/test/CLASS/… or PATH/val/CLASS/…",
    "hf:NAME": "an image set of the Hugging Face hub, or one saved in a folder (needs the package datasets)",
}


def lookup(name: str, cache: Path = Path("results/data")) -> DatasetSpec:
    """Return the spec of the dataset of that name.

    The spec of a folder is made from its files; the spec of a Hugging Face set from its images, which are loaded into
    `cache` the first time.

    Raises:
        ValueError: if the name is unknown (with the nearest name), or the data is not laid out as it should be.
    """
    kind, _, rest = name.partition(":")
    if kind == "folder" and rest:
        return folder.describe(rest, cache)
    if kind == "hf" and rest:
        return hugging_face.describe(rest, cache)
    return DATASETS[choose("dataset", name, (*DATASETS, *OWN))]


def resolve(name: str, data_root: Path | None, cache: Path, download: bool = True) -> str:
    """Return the name of the dataset that trials on `name` will use here: itself or its stand-in.

    Called once, before any trial. Looks in this order: decoded arrays in the cache, files under `data_root` or `cache`,
    the stand-in's files under `data_root`, a download. Reads a few file names (all of them for the user's own images),
    writes nothing (except a Hugging Face set, which must be loaded to be described), and takes about 5 s if the network
    does not answer.

    Raises:
        ValueError: if the name is unknown.
        DatasetError: if the files are incomplete, or there are none and no download is possible.
    """
    folder.forget(name.removeprefix("folder:"))  # its files may have changed since it was described
    hugging_face.forget(name.removeprefix("hf:"))
    spec = lookup(name, cache)
    if data_root is not None and not data_root.is_dir():
        raise DatasetError(f"data root: '{data_root}' is not a folder")
    if spec.comes_along or decoded(spec, cache) or locate(spec, data_root, cache):
        return spec.name
    if spec.stand_in is not None and data_root is not None and locate(DATASETS[spec.stand_in], data_root):
        return spec.stand_in
    if download and spec.url is not None and reachable(spec.url):
        return spec.name
    wanted = " or ".join(layout[0] if len(layout) == 1 else f"{layout[0]} …" for layout in spec.layouts)
    network = f"; {spec.url} does not answer" if download and spec.url else ""
    raise DatasetError(f"dataset: '{name}' is not under {data_root or cache} (expected {wanted}){network}")


def load(
    name: str,
    data_root: Path | None,
    cache: Path,
    *,
    validation: float = 0.0,
    digest: str = "",
    workers: int = 0,
    augment: str = "",
    strong: StrongAugmentation = NO_STRONG,
) -> Dataset:
    """Return the dataset of exactly that name, with the share `validation` of its training images held out.

    `augment` names the augmentation of training images; "" is the dataset's own. `strong` comes after it.

    The data is downloaded if needed, and decoded into `cache` by the first process that needs it: any number of
    processes may call this at once. `data_root` is never written to. `workers` processes read a dataset that is not
    decoded into the cache.

    Raises:
        ValueError: if the name is unknown.
        DatasetError: if the data cannot be read, is not what it should be, or has changed since `digest` was taken.
    """
    spec = lookup(name, cache)
    if digest and digest != spec.digest:
        raise DatasetError(
            f"dataset: the images of '{name}' differ from those of the plan: files were added or changed"
        )
    training_part(spec, validation)
    folder.remember(spec, cache)
    if augment:
        spec = replace(spec, augment=AUGMENTATIONS[choose("augment", augment, AUGMENTATIONS)])
    if spec.index is None:
        train_x, train_y, test_x, test_y = map_arrays(spec, data_root, cache)
        parts = split(train_y, validation)
        return InMemory(spec, train_y, test_y, *parts, train_x=train_x, test_x=test_x, strong=strong)
    files = spec.index(locate(spec, data_root, cache))
    train_y, test_y = torch.from_numpy(files.train_y), torch.from_numpy(files.test_y)
    parts = split(train_y, validation)
    return Streamed(spec, train_y, test_y, *parts, files=files, workers=workers, strong=strong)
