import gzip
import io
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.datasets import DATASETS, DatasetError, load, resolve
from trainables.datasets.cifar10_jpeg75 import read_batch, read_packed
from trainables.datasets.sources import copy_checked, reachable
from trainables.datasets.spec import Arrays, DatasetSpec

NOWHERE = "http://127.0.0.1:9/data.gz"  # the discard port: refuses at once


def random_arrays(train=12, test=4, shape=(3, 8, 8)):
    draw = np.random.default_rng(0)
    return Arrays(
        draw.integers(0, 256, (train, *shape), dtype=np.uint8),
        np.arange(train) % 3,
        draw.integers(0, 256, (test, *shape), dtype=np.uint8),
        np.arange(test) % 3,
    )


def tiny_spec(read=lambda _, __: random_arrays(), **changes):
    spec = DatasetSpec(
        name="tiny",
        summary="random pixels",
        input_shape=(3, 8, 8),
        num_classes=3,
        train_size=12,
        test_size=4,
        smallest_class=4,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.1),
        padding=2,
        read=read,
        augment="crop-flip",
    )
    return replace(spec, **changes)


@pytest.fixture
def register(monkeypatch):
    return lambda spec: monkeypatch.setitem(DATASETS, spec.name, spec)


# ---- the registry


def test_unknown_names_are_refused_with_the_nearest(tmp_path):
    for ask in (resolve, load):
        with pytest.raises(ValueError, match=r"'cifar-10' is not known; did you mean 'cifar10'\?"):
            ask("cifar-10", None, tmp_path)


def test_digits(tmp_path):
    assert resolve("digits", None, tmp_path / "cache", download=False) == "digits"
    data = load("digits", None, tmp_path / "cache")
    assert data.train_x.shape == (1437, 1, 8, 8)
    assert data.input_shape == (1, 8, 8)
    assert data.train_x.max() == 16
    ratio = torch.bincount(data.train_y) / torch.bincount(data.test_y)
    assert ((ratio > 3.85) & (ratio < 4.15)).all()
    scaled = data.train_x.double() / 255
    assert scaled.mean().item() == pytest.approx(data.spec.mean[0], abs=1e-6)
    assert scaled.std(correction=0).item() == pytest.approx(data.spec.std[0], abs=1e-6)


# ---- the cache


def test_a_dataset_is_decoded_once_and_mapped(tmp_path, register):
    reads = []

    def read(files, scratch):
        reads.append(files)
        (scratch / "unpacked").write_text("gone afterwards")
        return random_arrays()

    register(tiny_spec(read))
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: load("tiny", None, tmp_path), range(4)))
    assert len(reads) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", "tiny.lock"]
    for data in loaded:
        assert torch.equal(data.train_x, torch.from_numpy(random_arrays().train_x))
    loaded[0].train_x[0] = 0  # reaches neither the file nor the others
    assert torch.equal(load("tiny", None, tmp_path).train_x, loaded[1].train_x)


def test_what_a_killed_process_left_is_not_taken_for_a_dataset(tmp_path, register):
    (tmp_path / "tiny.partial").mkdir()
    (tmp_path / "tiny.partial" / "train_x.npy").write_bytes(b"half")
    register(tiny_spec())
    assert len(load("tiny", None, tmp_path).train_x) == 12
    assert not (tmp_path / "tiny.partial").exists()


def test_a_failed_read_leaves_nothing_behind(tmp_path, register):
    def read(_, __):
        raise OSError("no space\nleft")

    register(tiny_spec(read))
    with pytest.raises(DatasetError, match=r"'tiny' could not be read from its package: no space left$"):
        load("tiny", None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.lock"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_size": 13}, r"train_x is uint8 \[12, 3, 8, 8\], expected uint8 \[13, 3, 8, 8\]"),
        ({"num_classes": 2}, "has classes 0 to 2, expected 0 to 1"),
        ({"smallest_class": 5}, "has 4 training images of class 0, expected at least 5"),
        ({"num_classes": 4, "smallest_class": 0}, "has 0 test images of class 3, expected at least 1"),
    ],
)
def test_data_other_than_the_plan_counted_on_is_refused(tmp_path, register, wrong, message):
    register(tiny_spec(**wrong))
    with pytest.raises(DatasetError, match=message):
        load("tiny", None, tmp_path)
    assert not (tmp_path / "tiny").exists()


def test_a_damaged_cache_is_refused(tmp_path, register):
    register(tiny_spec())
    load("tiny", None, tmp_path)
    file = tmp_path / "tiny" / "train_x.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"tiny is damaged .*; delete it to decode again"):
        load("tiny", None, tmp_path)


# ---- where data is looked for


def write_batches(folder):
    folder.mkdir(parents=True)
    for file in DATASETS["cifar10-jpeg75"].layouts[1]:
        (folder.parent / file).write_bytes(b"")


def test_cifar10_is_itself_before_its_stand_in_before_a_download(tmp_path, register):
    root, cache = tmp_path / "data", tmp_path / "cache"
    root.mkdir()
    server = Path(__file__).as_uri()  # answers
    register(replace(DATASETS["cifar10"], url=server))
    assert resolve("cifar10", root, cache) == "cifar10"  # downloadable
    (root / "cifar10-jpeg75.npz").touch()
    assert resolve("cifar10", root, cache) == "cifar10-jpeg75"
    cache.mkdir()
    (cache / "cifar-10-python.tar.gz").touch()
    assert resolve("cifar10", root, cache) == "cifar10"


def test_missing_data_is_refused_in_one_line_and_nothing_is_written(tmp_path, register):
    register(replace(DATASETS["mnist"], url=NOWHERE))
    root, cache = tmp_path / "data", tmp_path / "cache"
    root.mkdir()
    expected = "'mnist' is not under .*data .expected MNIST/raw/train-images-idx3-ubyte"
    with pytest.raises(DatasetError, match=f"{expected}.*{NOWHERE} does not answer$"):
        resolve("mnist", root, cache)
    with pytest.raises(DatasetError, match=r"\.gz …\)$"):
        resolve("mnist", root, cache, download=False)
    assert not cache.exists()
    with pytest.raises(DatasetError, match="is not a folder"):
        resolve("digits", tmp_path / "dta", cache)


def test_partial_data_is_refused_with_the_missing_file(tmp_path):
    write_batches(tmp_path / "cifar10-jpeg75-batches")
    (tmp_path / "cifar10-jpeg75-batches" / "data_batch_3").unlink()
    for name in ("cifar10-jpeg75", "cifar10"):
        with pytest.raises(DatasetError, match=r"'cifar10-jpeg75' is incomplete: .*data_batch_3 is missing"):
            resolve(name, tmp_path, tmp_path / "cache", download=False)


def test_a_server_that_does_not_answer():
    assert not reachable(NOWHERE)


def test_corrupt_originals_are_named(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"cifar-10-python\.tar\.gz is corrupt: .* md5 c58f30108f71"):
        load("cifar10", tmp_path, tmp_path / "cache")
    with pytest.raises(DatasetError, match="is corrupt"):
        copy_checked(tmp_path / "cifar-10-python.tar.gz", "0" * 32, to=tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


# ---- the formats


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
    x = random_arrays(train=2, shape=(3, 32, 32)).train_x
    path.write_bytes(pickle.dumps({"data": x.reshape(2, -1), "labels": [3, 4]}, protocol=4))
    images, classes = read_batch(path)
    assert np.array_equal(images, x)
    assert classes.tolist() == [3, 4]
    path.write_bytes(pickle.dumps({"data": Attack(), "labels": []}, protocol=protocol))
    with pytest.raises(DatasetError, match=r"data_batch_1 is corrupt: .*is not part of an array"):
        read_batch(path)
    assert not (tmp_path / "attacked").exists()
