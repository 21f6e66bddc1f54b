"""CIFAR-10 after JPEG compression at quality 75, for machines that cannot get the original.

Accuracies on it compare with each other, not with published ones, so it has its own name everywhere.
"""

from __future__ import annotations

import io
import pickle
import warnings
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np

from trainables.datasets.cifar10 import BATCHES, CIFAR10
from trainables.datasets.spec import Arrays, DatasetError

PACKED = "cifar10-jpeg75.npz"
FOLDER = "cifar10-jpeg75-batches"
PIXELS = "f272ef819fb1f23c98dbbf6b9010dfbf"  # md5 of all images as the reference decoder, libjpeg-turbo, decodes them


def _read(files: tuple[Path, ...] | None, _: Path) -> Arrays:
    if files is None:
        raise DatasetError(f"dataset: 'cifar10-jpeg75' is not on disk (expected {PACKED}) and has no download")
    if files[0].name == PACKED:
        x, y = read_packed(files[0])
    else:
        parts = [read_batch(file) for file in files]
        x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if md5(x.tobytes()).hexdigest() != PIXELS:
        warnings.warn(
            "cifar10-jpeg75: this machine's JPEG decoder gives slightly different pixels than the reference; "
            "results are equal bit for bit only between machines with the same decoder",
            stacklevel=2,
        )
    n = CIFAR10.train_size
    return Arrays(x[:n], y[:n], x[n:], y[n:])


def read_packed(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return images uint8 [N, 3, 32, 32] and classes int64 [N] of an archive of concatenated JPEGs.

    Raises:
        DatasetError: if the file is anything else.
    """
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as archive:
            jpegs, sizes, y = archive["jpeg"].tobytes(), archive["size"].astype(int), archive["labels"]
        ends = np.cumsum(sizes)
        images = (Image.open(io.BytesIO(jpegs[a:b])) for a, b in zip(ends - sizes, ends, strict=True))
        x = np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
    except Exception as error:
        raise DatasetError(f"dataset: {path} is corrupt: expected an npz of jpeg, size and labels") from error
    return np.ascontiguousarray(x), y.astype(np.int64)


def read_batch(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return images uint8 [N, 3, 32, 32] and classes int64 [N] of a batch file in CIFAR-10's format.

    Raises:
        DatasetError: if the file is anything else, in particular a pickle that loads more than an array.
    """
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file).load()
        x, y = batch["data"].reshape(-1, 3, 32, 32), np.array(batch["labels"], dtype=np.int64)
    except Exception as error:
        raise DatasetError(f"dataset: {path} is corrupt: expected a CIFAR-10 batch file ({error})") from error
    return x, y


ARRAY_PARTS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # The function that makes an empty array to be filled, at its place in numpy 2 and in numpy 1.
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that loads only the parts of an array, because no published md5 protects these pickles."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return ARRAY_PARTS[module, name]


# Normalised with the original's mean and std: the stand-in differs from the original only in its pixels.
CIFAR10_JPEG75 = replace(
    CIFAR10,
    name="cifar10-jpeg75",
    summary="CIFAR-10 with lossy pixels, a stand-in where the original is not available",
    read=_read,
    layouts=((PACKED,), tuple(f"{FOLDER}/{file}" for file in BATCHES)),
    url=None,
    stand_in=None,
)
