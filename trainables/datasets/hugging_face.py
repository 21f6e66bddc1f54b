"""Image sets of the Hugging Face hub by name, or saved to disk: `hf:NAME` (needs the package `datasets`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pruners.errors import message_of
from trainables.datasets.augmentation import shifted
from trainables.datasets.folder import STATISTICS
from trainables.datasets.pixels import decode, survey
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec, Decoding
from trainables.versions import is_installed

TESTS = ("test", "validation", "val")  # the first of these that exists is used


_described: dict[str, DatasetSpec] = {}


def forget(name: str) -> None:
    """Read a local set again the next time that it is described."""
    _described.pop(f"hf:{Path(name).expanduser().resolve()}", None)


def describe(name: str, cache: Path) -> DatasetSpec:
    """Return the spec of the image set `name`, which is loaded into `cache` if it is not a local folder.

    This process reads the set once and remembers the spec.

    Raises:
        DatasetError: if it cannot be loaded, lacks a column of images or of classes, or a test set, or has images of
            several sizes.
    """
    local = Path(name).expanduser()
    called = f"hf:{local.resolve()}" if local.exists() else f"hf:{name}"
    if called not in _described:
        _described[called] = _describe(called, local, cache)
    return _described[called]


def _describe(called: str, local: Path, cache: Path) -> DatasetSpec:
    parts = _load(called, local, cache)
    image, label = _columns(called, parts["train"])
    _require_classes(called, parts, label)
    hashed, counts, contents = hashlib.sha256(), [], []
    names: list[bytes] = []
    for name_of, part in parts.items():
        raw = _raw(part, image)
        labels = np.array(part[label], dtype=np.int64)
        counts.append(np.bincount(labels, minlength=part.features[label].num_classes))
        hashed.update(labels.tobytes())
        for row in range(len(part)):
            hashed.update(raw(row))
        names += [f"{called} {name_of} image {row}".encode() for row in range(len(part))]
        contents.append(raw)
    trained = len(parts["train"])
    found = survey(names, lambda row: contents[row >= trained](row - trained if row >= trained else row))
    if len(found.sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sorted(found.sizes)[:3])
        raise DatasetError(
            f"dataset: '{called}' has images of {len(found.sizes)} sizes ({shown}, …); save it as folder:PATH"
        )
    (width, height), channels = min(found.sizes), 1 if found.grey else 3
    if found.altered:
        hashed.update(str(found.decoding).encode())
    digest = hashed.hexdigest()[:16]
    shape = (channels, height, width)
    mean, std = STATISTICS[channels]
    return DatasetSpec(
        name=called,
        summary=", ".join(
            [
                f"{len(parts['train'])} + {len(parts['test'])} images of {len(counts[0])} classes",
                f"{width}x{height}",
                *found.decoding.words,
            ]
        ),
        input_shape=shape,
        num_classes=len(counts[0]),
        train_size=len(parts["train"]),
        test_size=len(parts["test"]),
        smallest_class=int(counts[0].min()),
        mean=mean,
        std=std,
        read=partial(_read, parts, (image, label), shape, found.decoding),
        augment=shifted(min(height, width)),
        digest=digest,
        decoding=found.decoding,
        cached_as=f"hf-{Path(called).name}-{digest}",
    )


def _load(called: str, local: Path, cache: Path) -> dict[str, Any]:
    """Load the image set and return its parts "train" and "test"."""
    if not is_installed("datasets"):
        raise DatasetError(f"dataset: '{called}' needs a package: pip install datasets")
    import datasets as library

    library.disable_progress_bars()
    try:
        if (local / "dataset_dict.json").is_file():
            found = library.load_from_disk(str(local))
        else:
            place = str(cache / "huggingface")
            config = library.DownloadConfig(cache_dir=place)
            source = str(local.resolve()) if local.exists() else called.removeprefix("hf:")
            found = library.load_dataset(source, cache_dir=place, download_config=config)
    except Exception as error:  # errors of many kinds: from the hub, the network, the parsers
        raise DatasetError(f"dataset: '{called}' could not be read: {message_of(error)}") from error
    test = next((part for part in TESTS if part in found), None)
    if "train" not in found or test is None:
        raise DatasetError(f"dataset: '{called}' has {', '.join(found)}, expected train and one of {', '.join(TESTS)}")
    return {"train": found["train"], "test": found[test]}


def _columns(called: str, part: Any) -> tuple[str, str]:
    """Return the column of images and the column of classes; raise a DatasetError unless there is one of each."""
    import datasets as library

    found = []
    for kind in (library.Image, library.ClassLabel):
        columns = [column for column, feature in part.features.items() if isinstance(feature, kind)]
        if len(columns) != 1:
            raise DatasetError(f"dataset: '{called}' has {len(columns)} columns of type {kind.__name__}, expected one")
        found += columns
    return found[0], found[1]


def _require_classes(called: str, parts: dict[str, Any], label: str) -> None:
    """Raise a DatasetError unless both parts have the same classes, two or more, and every image has one of them."""
    train, test = (part.features[label].names for part in parts.values())
    if train != test:
        raise DatasetError(f"dataset: '{called}' has classes {train[:5]} to train on but {test[:5]} to test on")
    if len(train) < 2:
        raise DatasetError(f"dataset: '{called}' has one class, {train}, expected two or more")
    for name, part in parts.items():
        classes = part[label]
        if not len(classes):
            raise DatasetError(f"dataset: '{called}' has no {name} images")
        for row, number in enumerate(classes):
            if number is None or not 0 <= number < len(train):
                raise DatasetError(f"dataset: '{called}' {name} image {row} has class {number}, which has no name")


def _raw(part: Any, column: str) -> Callable[[int], bytes]:
    """Return a function that maps a row to the bytes of its image file, not decoded."""
    import datasets as library

    files = part.cast_column(column, library.Image(decode=False))

    def content(row: int) -> bytes:
        entry = files[row][column]
        try:
            return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes()
        except (OSError, TypeError) as error:  # TypeError: there is no entry
            raise DatasetError(
                f"dataset: row {row} of column '{column}' holds no image: {message_of(error)}"
            ) from error

    return content


def _read(
    parts: dict[str, Any],
    columns: tuple[str, str],
    shape: tuple[int, int, int],
    decoding: Decoding,
    _: tuple[Path, ...] | None,
    scratch: Path,
) -> Arrays:
    image, label = columns
    arrays = []
    for name, part in parts.items():
        names = [f"{name} image {row}".encode() for row in range(len(part))]
        arrays.append(decode(names, shape, scratch / f"{name}.npy", _raw(part, image), decoding))
        arrays.append(np.array(part[label], dtype=np.int64))
    return Arrays(*arrays)
