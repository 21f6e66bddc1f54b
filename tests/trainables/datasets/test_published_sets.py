"""CIFAR-100, SVHN, Tiny-ImageNet and ImageNet in their own formats, made up and small."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torchvision
from image_files import write_image, write_tiny_imagenet
from scipy.io import savemat

from trainables import datasets
from trainables.datasets import DATASETS, DatasetError, imagenet, load, resolve, tiny_imagenet


@pytest.fixture
def shrink(monkeypatch):
    """Make the facts of a published set those of a small one."""
    return lambda name, **facts: monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], **facts))


def write_cifar100(folder, monkeypatch):
    """Files like the published ones, and torchvision convinced that they are."""
    folder.mkdir(parents=True)
    md5s = {}
    for name, n in (("train", 8), ("test", 4), ("meta", 0)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 3 * 32 * 32), dtype=np.uint8)
        labels = {"fine_labels": [i % 4 for i in range(n)], "coarse_labels": [0] * n}
        content = {"fine_label_names": list("abcd")} if name == "meta" else {"data": pixels, **labels}
        packed = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(packed)
        md5s[name] = md5(packed).hexdigest()
    published = torchvision.datasets.CIFAR100
    monkeypatch.setattr(published, "train_list", [["train", md5s["train"]]])
    monkeypatch.setattr(published, "test_list", [["test", md5s["test"]]])
    monkeypatch.setattr(published, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5s["meta"]})


def test_cifar100(tmp_path, monkeypatch, shrink):
    write_cifar100(tmp_path / "cifar-100-python", monkeypatch)
    shrink("cifar100", num_classes=4, train_size=8, test_size=4, smallest_class=2)
    assert resolve("cifar100", tmp_path, tmp_path / "cache", download=False) == "cifar100"
    data = load("cifar100", tmp_path, tmp_path / "cache")
    assert data.train_y.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]  # the fine classes
    pixels = np.random.default_rng(8).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    assert torch.equal(data.train_x, torch.from_numpy(pixels))
    torn = tmp_path / "cifar-100-python" / "test"
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"cifar-100-python/test is corrupt: expected the published file, md5"):
        load("cifar100", tmp_path, tmp_path / "another")


def write_svhn(folder, monkeypatch):
    folder.mkdir()
    md5s = {}
    for split, n in (("train", 20), ("test", 10)):
        pixels = np.random.default_rng(n).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        file = folder / f"{split}_32x32.mat"
        savemat(file, {"X": pixels, "y": (np.arange(n) % 10 + 1)[:, None].astype(np.uint8)})
        md5s[split] = ["", file.name, md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", md5s)


@pytest.mark.parametrize("folder", ["", "SVHN"])
def test_svhn(tmp_path, monkeypatch, shrink, folder):
    root = tmp_path / "root"
    root.mkdir()
    write_svhn(root / folder if folder else root / "SVHN", monkeypatch)
    if not folder:
        root = root / "SVHN"
    shrink("svhn", train_size=20, test_size=10, smallest_class=2)
    assert resolve("svhn", root, tmp_path / "cache", download=False) == "svhn"
    data = load("svhn", root, tmp_path / "cache")
    assert data.test_y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # the file says 10 for a zero
    pixels = np.random.default_rng(10).integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
    assert torch.equal(data.test_x, torch.from_numpy(pixels.transpose(3, 2, 0, 1)))
    torn = next(root.rglob("train_32x32.mat"))
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"train_32x32\.mat is corrupt"):
        load("svhn", root, tmp_path / "another")


TINY = {"num_classes": 2, "train_size": 4, "test_size": 2, "smallest_class": 2}


def test_tiny_imagenet_unpacked(tmp_path, shrink):
    folder = write_tiny_imagenet(tmp_path)
    shrink("tiny-imagenet", **TINY)
    assert resolve("tiny-imagenet", tmp_path, tmp_path / "cache", download=False) == "tiny-imagenet"
    data = load("tiny-imagenet", tmp_path, tmp_path / "cache")
    assert data.train_x.shape == (4, 3, 64, 64)
    assert data.train_y.tolist() == [0, 0, 1, 1]  # n01 before n02
    # val_0 is annotated n02, and the grey val_1 n01.
    assert data.test_y.tolist() == [0, 1]
    assert torch.equal(data.test_x[0, 0], data.test_x[0, 2])
    assert not torch.equal(data.test_x[1, 0], data.test_x[1, 2])
    assert folder.is_dir()


def zipped(folder, to):
    with ZipFile(to, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return md5(to.read_bytes()).hexdigest()


def test_tiny_imagenet_from_its_zip(tmp_path, monkeypatch, shrink):
    root = tmp_path / "root"
    root.mkdir()
    digest = zipped(write_tiny_imagenet(tmp_path / "made"), root / "tiny-imagenet-200.zip")
    shrink("tiny-imagenet", **TINY)
    with pytest.raises(DatasetError, match=r"tiny-imagenet-200\.zip is corrupt: expected .* md5 90528d7c"):
        load("tiny-imagenet", root, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny-imagenet.lock"]
    monkeypatch.setattr(tiny_imagenet, "MD5", digest)
    packed = load("tiny-imagenet", root, tmp_path / "cache")
    unpacked = load("tiny-imagenet", tmp_path / "made", tmp_path / "another")
    assert torch.equal(packed.train_x, unpacked.train_x)
    assert [path.name for path in root.iterdir()] == ["tiny-imagenet-200.zip"]  # only read
    assert sorted(path.name for path in (tmp_path / "cache" / "tiny-imagenet").iterdir()) == [
        "test_x.npy",
        "test_y.npy",
        "train_x.npy",
        "train_y.npy",
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "val/images/val_1.JPEG").unlink(), r"val/images/val_1\.JPEG is missing"),
        (lambda f: write_image(f / "val/images/more.JPEG"), r"val/images/more\.JPEG is not annotated"),
        (lambda f: shutil.rmtree(f / "train/n01"), "train/n01/images cannot be read: No such file"),
        (lambda f: write_image(f / "train/n02/images/n02_0.JPEG", (64, 63)), r"n02_0\.JPEG has 64×63 .*expected 64×64"),
        (lambda f: (f / "train/n02/images/n02_0.JPEG").write_bytes(b"x"), r"n02_0\.JPEG is not a whole image"),
        (lambda f: (f / "val/val_annotations.txt").write_text("val_0.JPEG n01"), "val_annotations.txt is corrupt"),
        (
            lambda f: (f / "val/val_annotations.txt").write_text("val_0.JPEG\tn01\nval_1.JPEG\tn09\n"),
            "class n09 of val_1.JPEG is unknown",
        ),
        (lambda f: (f / "train/n01/images/n01_1.JPEG").unlink(), r"train_x is uint8 \[3, .*expected uint8 \[4"),
    ],
)
def test_damaged_tiny_imagenet_is_refused_with_the_file(tmp_path, shrink, damage, message):
    damage(write_tiny_imagenet(tmp_path))
    shrink("tiny-imagenet", **TINY)
    with pytest.raises(DatasetError, match=message):
        load("tiny-imagenet", tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache" / "tiny-imagenet").exists()


def write_imagenet(root, kit=False):
    for c, wnid in enumerate(("n01", "n02")):
        for i in range(3):
            write_image(root / "train" / wnid / f"{wnid}_{i}.JPEG", (40 + i, 30), seed=c)
        name = f"ILSVRC2012_val_0000000{2 - c}.JPEG"
        write_image(root / "val" / ("" if kit else wnid) / name, (50, 40), seed=c)
    if kit:
        data = root / "ILSVRC2012_devkit_t12" / "data"
        data.mkdir(parents=True)
        synsets = np.array([(2, "n01"), (1, "n02")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
        savemat(data / "meta.mat", {"synsets": synsets})
        (data / imagenet.TRUTH).write_text("1\n2\n")
    return root


@pytest.mark.parametrize("kit", [False, True])
def test_imagenet_is_streamed_from_folders_or_sorted_by_its_kit(tmp_path, monkeypatch, kit):
    write_imagenet(tmp_path / "imagenet", kit)
    small = replace(imagenet.IMAGENET, num_classes=2, train_size=6, test_size=2, smallest_class=3)
    monkeypatch.setattr(imagenet, "IMAGENET", small)
    monkeypatch.setitem(DATASETS, "imagenet", small)
    assert resolve("imagenet", tmp_path, tmp_path / "cache", download=False) == "imagenet"
    data = load("imagenet", tmp_path, tmp_path / "cache")
    assert data.spec.path == "stream"
    assert data.train_y.tolist() == [0, 0, 0, 1, 1, 1]
    assert [Path(path.decode()).stem[-1] for path in data.files.test] == ["2", "1"]
    (x, y), *rest = data.test_batches()
    assert (x.shape, y.tolist(), rest) == ((2, 3, 224, 224), [0, 1], [])
    assert not (tmp_path / "cache").exists()


def test_imagenet_with_something_missing_is_refused(tmp_path, shrink):
    root = write_imagenet(tmp_path / "imagenet")
    with pytest.raises(DatasetError, match=r"imagenet has 6 \+ 2 images, expected all 1281167 \+ 50000 .*folder:PATH"):
        load("imagenet", tmp_path, tmp_path / "cache")
    shutil.rmtree(root / "val" / "n02")
    with pytest.raises(DatasetError, match="imagenet/val/n02 is missing"):
        load("imagenet", tmp_path, tmp_path / "cache")
    (root / "val" / "n01" / "ILSVRC2012_val_00000002.JPEG").rename(root / "val" / "ILSVRC2012_val_00000001.JPEG")
    (root / "val" / "n01").rmdir()
    with pytest.raises(DatasetError, match=r"not in folders by class, and .*devkit_t12/data cannot sort them"):
        load("imagenet", tmp_path, tmp_path / "cache")
    shutil.rmtree(root / "val")
    with pytest.raises(DatasetError, match=r"'imagenet' is incomplete: .*imagenet/val is missing"):
        resolve("imagenet", tmp_path, tmp_path / "cache")


def test_synthetic_images_are_the_same_everywhere_and_can_be_learned(tmp_path):
    data = load("synthetic-32", None, tmp_path / "one")
    again = load("synthetic-32", None, tmp_path / "two")
    assert torch.equal(data.train_x, again.train_x)
    assert resolve("synthetic-224", None, tmp_path, download=False) == "synthetic-224"
    assert data.train_x.double().div(255).mean().item() == pytest.approx(data.spec.mean[0], abs=0.01)
    assert data.train_x.double().div(255).std().item() == pytest.approx(data.spec.std[0], abs=0.01)
    # The nearest class mean finds the class.
    flat = data.train_x.flatten(1).float()
    means = torch.stack([flat[data.train_y == c].mean(0) for c in range(10)])
    nearest = torch.cdist(data.test_x.flatten(1).float(), means).argmin(1)
    assert (nearest == data.test_y).float().mean() > 0.95


def test_every_named_set_is_described(tmp_path):
    assert {datasets.lookup(name).path for name in DATASETS} == {"memory", "stream"}
