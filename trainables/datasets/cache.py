"""Cache of decoded datasets: each is decoded once per machine, is complete, and is mapped by all processes."""

from __future__ import annotations

import os
import shutil
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pruners.errors import message_of
from trainables.datasets.sources import locate
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec
from trainables.record.files import errors_name, held


def decoded(spec: DatasetSpec, cache: Path) -> Path | None:
    """Return the folder of the decoded arrays if they are in the cache, else None.

    The folder appears by one rename, so it is complete.
    """
    folder = cache / _folder(spec)
    return folder if folder.is_dir() else None


def map_arrays(spec: DatasetSpec, data_root: Path | None, cache: Path) -> tuple[Tensor, ...]:
    """Return the tensors train_x, train_y, test_x, test_y of `Arrays`; decode them into the cache if they are missing.

    Raises:
        DatasetError: if the source or the cache does not match the spec.
    """
    folder = decoded(spec, cache) or _decode(spec, data_root, cache)
    try:
        # "c", not "r": torch cannot represent read-only memory and warns about it. Pages stay shared between
        # processes as long as none writes to them, and writes never reach the file.
        arrays = Arrays(*(np.load(folder / f"{part}.npy", mmap_mode="c") for part in Arrays._fields))
    except (OSError, ValueError) as error:
        raise DatasetError(f"dataset: {folder} is damaged ({error}); delete it to decode again") from error
    _check(spec, arrays, str(folder))
    return tuple(torch.from_numpy(array) for array in arrays)


def _decode(spec: DatasetSpec, data_root: Path | None, cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    with held(cache / f"{_folder(spec)}.lock"):
        folder = decoded(spec, cache)
        if folder is not None:  # another process decoded it while this one waited for the lock
            return folder
        partial = cache / f"{_folder(spec)}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed process: this one holds the lock
        scratch = partial / "scratch"
        scratch.mkdir(parents=True)
        try:
            arrays = _read(spec, data_root, cache, scratch)
            for part, array in arrays._asdict().items():
                path = partial / f"{part}.npy"
                with errors_name(path), path.open("wb") as file:
                    np.save(file, array)
                    file.flush()
                    os.fsync(file.fileno())  # otherwise a power cut can leave the new name on empty files
            del arrays, array  # they may map files in the scratch folder
            shutil.rmtree(scratch)
            try:
                return partial.rename(cache / _folder(spec))
            except OSError:  # on a shared folder another node's may have been there unseen
                if (folder := decoded(spec, cache)) is None:
                    raise
                return folder
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _folder(spec: DatasetSpec) -> str:
    return spec.cached_as or spec.name


def _read(spec: DatasetSpec, data_root: Path | None, cache: Path, scratch: Path) -> Arrays:
    assert spec.read is not None  # streamed datasets are never decoded into arrays
    files = locate(spec, data_root, cache)
    origin = str(files[0].parent) if files else spec.url or "its package"
    try:
        arrays = spec.read(files, scratch)
    except (OSError, RuntimeError, HTTPException) as error:  # errors of the network; torchvision raises RuntimeError
        raise DatasetError(f"dataset: '{spec.name}' could not be read from {origin}: {message_of(error)}") from error
    _check(spec, arrays, origin)
    _check_classes(spec, arrays, origin)
    return arrays


def _check(spec: DatasetSpec, arrays: Arrays, origin: str) -> None:
    """Raise a DatasetError unless the arrays have the types and shapes of the spec."""
    wanted = {
        "train_x": (np.dtype(np.uint8), (spec.train_size, *spec.input_shape)),
        "train_y": (np.dtype(np.int64), (spec.train_size,)),
        "test_x": (np.dtype(np.uint8), (spec.test_size, *spec.input_shape)),
        "test_y": (np.dtype(np.int64), (spec.test_size,)),
    }
    for part, array in arrays._asdict().items():
        dtype, shape = wanted[part]
        if (array.dtype, array.shape) != (dtype, shape):
            raise DatasetError(
                f"dataset: '{spec.name}' from {origin}: {part} is {array.dtype} {list(array.shape)}, "
                f"expected {dtype} {list(shape)}"
            )


def _check_classes(spec: DatasetSpec, arrays: Arrays, origin: str) -> None:
    """Raise a DatasetError if a class is out of range or has too few images."""
    where = f"dataset: '{spec.name}' from {origin}"
    classes = np.union1d(arrays.train_y, arrays.test_y)
    if classes[0] < 0 or classes[-1] >= spec.num_classes:
        raise DatasetError(f"{where} has classes {classes[0]} to {classes[-1]}, expected 0 to {spec.num_classes - 1}")
    for part, y, fewest in (("training", arrays.train_y, spec.smallest_class), ("test", arrays.test_y, 1)):
        counts = np.bincount(y, minlength=spec.num_classes)
        if counts.min() < fewest:
            raise DatasetError(
                f"{where} has {counts.min()} {part} images of class {counts.argmin()}, expected at least {fewest}"
            )
