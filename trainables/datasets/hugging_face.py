"""Any image set of the Hugging Face hub, by name, or one saved to disk: `hf:NAME` (needs the package `datasets`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pruners.errors import words
from trainables.datasets.folder import STATISTICS
from trainables.datasets.images import decode, opened
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec

TESTS = ("test", "validation", "val")  # the first that there is


_described: dict[str, DatasetSpec] = {}


def describe(name: str, cache: Path) -> DatasetSpec:
    """The facts of the image set `name`, which is brought into `cache` if it is not a folder here. Looked at once.

    Raises:
        DatasetError: if it cannot be had, has no pair of image and class, no test set, or images of several sizes.
    """
    local = Path(name).expanduser()
    called = f"hf:{local.resolve()}" if local.exists() else f"hf:{name}"
    if called not in _described:
        _described[called] = _describe(called, local, cache)
    return _described[called]


def _describe(called: str, local: Path, cache: Path) -> DatasetSpec:
    parts = _load(called, local, cache)
    image, label = _columns(called, parts["train"])
    hashed, sizes, modes, counts = hashlib.sha256(), set(), set(), []
    for name_of, part in parts.items():
        raw = _raw(part, image)
        counts.append(np.bincount(np.array(part[label], dtype=np.int64), minlength=part.features[label].num_classes))
        hashed.update(np.array(part[label], dtype=np.int64).tobytes())
        for row in range(len(part)):
            content = raw(row)
            hashed.update(content)
            with opened(f"{called} {name_of} image {row}", content) as file:
                sizes.add(file.size)
                modes.add(file.mode)
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3])
        raise DatasetError(f"dataset: '{called}' has images of {len(sizes)} sizes ({shown}, …); save it as folder:PATH")
    (width, height), channels = sizes.pop(), 1 if modes <= {"1", "L"} else 3
    digest = hashed.hexdigest()[:16]
    shape = (channels, height, width)
    mean, std = STATISTICS[channels]
    return DatasetSpec(
        name=called,
        summary=f"{len(parts['train'])} + {len(parts['test'])} images of {len(counts[0])} classes, {width}x{height}",
        input_shape=shape,
        num_classes=len(counts[0]),
        train_size=len(parts["train"]),
        test_size=len(parts["test"]),
        smallest_class=int(counts[0].min()),
        mean=mean,
        std=std,
        padding=min(height, width) // 8,
        read=partial(_read, parts, image, label, shape),
        augment="crop-flip",
        digest=digest,
        cached_as=f"hf-{Path(called).name}-{digest}",
    )


def _load(called: str, local: Path, cache: Path) -> dict[str, Any]:
    """The sets "train" and "test"."""
    try:
        import datasets as library
    except ImportError:
        raise DatasetError(f"dataset: '{called}' needs a package: pip install datasets") from None
    library.disable_progress_bars()
    try:
        if (local / "dataset_dict.json").is_file():
            found = library.load_from_disk(str(local))
        else:
            place = str(cache / "huggingface")
            config = library.DownloadConfig(cache_dir=place)
            source = str(local.resolve()) if local.exists() else called.removeprefix("hf:")
            found = library.load_dataset(source, cache_dir=place, download_config=config)
    except Exception as error:  # of many kinds: the hub's, the network's, the parsers'
        raise DatasetError(f"dataset: '{called}' could not be read: {words(error)}") from error
    test = next((part for part in TESTS if part in found), None)
    if "train" not in found or test is None:
        raise DatasetError(f"dataset: '{called}' has {', '.join(found)}, expected train and one of {', '.join(TESTS)}")
    return {"train": found["train"], "test": found[test]}


def _columns(called: str, part: Any) -> tuple[str, str]:
    """The columns of images and classes, of which there must be one each."""
    import datasets as library

    found = []
    for kind in (library.Image, library.ClassLabel):
        columns = [column for column, feature in part.features.items() if isinstance(feature, kind)]
        if len(columns) != 1:
            raise DatasetError(f"dataset: '{called}' has {len(columns)} columns of type {kind.__name__}, expected one")
        found += columns
    return found[0], found[1]


def _raw(part: Any, column: str) -> Callable[[int], bytes]:
    """What gives the file of an image by its row, not decoded."""
    import datasets as library

    files = part.cast_column(column, library.Image(decode=False))

    def content(row: int) -> bytes:
        entry = files[row][column]
        return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes()

    return content


def _read(
    parts: dict[str, Any],
    image: str,
    label: str,
    shape: tuple[int, int, int],
    _: tuple[Path, ...] | None,
    scratch: Path,
) -> Arrays:
    arrays = []
    for name, part in parts.items():
        names = [f"{name} image {row}".encode() for row in range(len(part))]
        arrays.append(decode(names, shape, scratch / f"{name}.npy", _raw(part, image)))
        arrays.append(np.array(part[label], dtype=np.int64))
    return Arrays(*arrays)
