"""Datasets by name; decoded once, and only what the plan counted on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.datasets import DatasetError, cache, load, resolve
from trainables.datasets.augmentation import Augmentation
from trainables.datasets.spec import Arrays, DatasetSpec


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
        read=read,
        augment=Augmentation("", padding=2, flip=True),
    )
    return replace(spec, **changes)


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


def test_one_that_another_node_has_decoded_unseen_is_taken(tmp_path, register, monkeypatch):
    register(tiny_spec())
    whole = load("tiny", None, tmp_path)
    looks = iter([None, None])  # a shared folder shows the folder late: before the lock and under it
    seen = cache.decoded
    monkeypatch.setattr(cache, "decoded", lambda spec, folder: next(looks, seen(spec, folder)))
    assert torch.equal(load("tiny", None, tmp_path).train_x, whole.train_x)
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_cache_is_refused(tmp_path, register):
    register(tiny_spec())
    load("tiny", None, tmp_path)
    file = tmp_path / "tiny" / "train_x.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"tiny is damaged .*; delete it to decode again"):
        load("tiny", None, tmp_path)
