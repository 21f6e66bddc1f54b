"""MNIST and Fashion-MNIST: one format, two sets of files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from trainables.datasets.sources import copy_checked
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _read(family: str, files: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    from torchvision.datasets import MNIST, FashionMNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    source = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[family]
    folder = scratch / family / "raw"
    packed = files is not None and files[0].suffix == ".gz"
    if files is not None and packed:  # torchvision unpacks what it finds and downloads nothing
        for file, (_, md5) in zip(files, source.resources, strict=True):
            copy_checked(file, md5, to=folder)
    if files is None or packed:
        source(scratch, download=True)
        files = tuple(folder / name for name in FILES)
    parts = []
    for file, read in zip(files, (read_image_file, read_label_file) * 2, strict=True):
        try:
            parts.append(read(str(file)).numpy())
        except Exception as error:
            raise DatasetError(f"dataset: {file} is corrupt: expected a whole IDX file of bytes") from error
    train_x, train_y, test_x, test_y = parts
    return Arrays(train_x[:, None], train_y, test_x[:, None], test_y)


def _layouts(family: str) -> tuple[tuple[str, ...], ...]:
    """Return torchvision's own layouts: unpacked, and as downloaded."""
    return tuple(tuple(f"{family}/raw/{file}{suffix}" for file in FILES) for suffix in ("", ".gz"))


MNIST = DatasetSpec(
    name="mnist",
    summary="handwritten digits, 28x28 grey",
    input_shape=(1, 28, 28),
    num_classes=10,
    train_size=60_000,
    test_size=10_000,
    smallest_class=5421,
    mean=(0.1307,),
    std=(0.3081,),
    read=partial(_read, "MNIST"),
    layouts=_layouts("MNIST"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
)

FASHION_MNIST = DatasetSpec(
    name="fashion-mnist",
    summary="pieces of clothing, 28x28 grey",
    input_shape=(1, 28, 28),
    num_classes=10,
    train_size=60_000,
    test_size=10_000,
    smallest_class=6000,
    mean=(0.2860,),
    std=(0.3530,),
    read=partial(_read, "FashionMNIST"),
    layouts=_layouts("FashionMNIST"),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
)
