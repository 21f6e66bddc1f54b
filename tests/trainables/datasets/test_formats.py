"""MNIST and CIFAR-10 in the formats that they come in, made up and small: read without pickles, or refused."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.datasets import DATASETS, DatasetError, load
from trainables.datasets.cifar10_jpeg75 import read_batch, read_packed


def write_idx(folder, train=10, test=10, pack=lambda path, content: path.write_bytes(content)):
    folder.mkdir(parents=True)
    for prefix, n in (("train", train), ("t10k", test)):
        images = np.full((n, 28, 28), 7, dtype=np.uint8)
        pack(folder / f"{prefix}-images-idx3-ubyte", struct.pack(">4i", 0x803, n, 28, 28) + images.tobytes())
        pack(folder / f"{prefix}-labels-idx1-ubyte", struct.pack(">2i", 0x801, n) + bytes(range(n)))


def test_unpacked_mnist_is_read_in_place(tmp_path, register):
    root = tmp_path / "data"
    write_idx(root / "MNIST" / "raw")
    register(replace(DATASETS["mnist"], train_size=10, test_size=10, smallest_class=1))
    data = load("mnist", root, tmp_path / "cache")
    assert data.train_x.shape == (10, 1, 28, 28)
    assert data.test_y.tolist() == list(range(10))
    torn = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(DatasetError, match="t10k-images-idx3-ubyte is corrupt: expected a whole IDX file"):
        load("mnist", root, tmp_path / "another")


def test_packed_mnist_of_other_content_is_refused(tmp_path):
    root = tmp_path / "data"

    def pack(path, content):
        Path(f"{path}.gz").write_bytes(gzip.compress(content))

    write_idx(root / "MNIST" / "raw", pack=pack)
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz is corrupt: expected .* md5 f68b3c2d"):
        load("mnist", root, tmp_path / "cache")


def jpegs(colours):
    for colour in colours:
        file = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(file, "JPEG", quality=75)
        yield file.getvalue()


def test_packed_jpegs_are_decoded_without_pickles(tmp_path):
    files = list(jpegs([(200, 0, 0), (0, 0, 200)]))
    path = tmp_path / "cifar10-jpeg75.npz"
    packed = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "size": np.array([len(f) for f in files], "u2")}
    np.savez(path, **packed, labels=np.array([3, 4], np.uint8))
    x, y = read_packed(path)
    assert (x.shape, x.dtype, y.tolist()) == ((2, 3, 32, 32), np.uint8, [3, 4])
    assert x[0, 0].mean() > 190
    assert x[0, 2].mean() < 10
    assert x[1, 2].mean() > 190
    np.savez(path, **packed, labels=np.array([3, None]))
    with pytest.raises(DatasetError, match=r"jpeg75\.npz is corrupt"):
        read_packed(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetError, match=r"jpeg75\.npz is corrupt"):
        read_packed(path)


class Attack:
    def __reduce__(self):
        return Path.touch, (Path("attacked"),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_batch_files_may_hold_arrays_and_nothing_else(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data_batch_1"
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"data": x.reshape(2, -1), "labels": [3, 4]}, protocol=4))
    images, classes = read_batch(path)
    assert np.array_equal(images, x)
    assert classes.tolist() == [3, 4]
    path.write_bytes(pickle.dumps({"data": Attack(), "labels": []}, protocol=protocol))
    with pytest.raises(DatasetError, match=r"data_batch_1 is corrupt: .*is not part of an array"):
        read_batch(path)
    assert not (tmp_path / "attacked").exists()
