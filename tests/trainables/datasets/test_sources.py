"""Where data is looked for, and what is said where there is none, half of it, or something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainables.datasets import DATASETS, DatasetError, load, resolve
from trainables.datasets.sources import copy_checked, reachable

NOWHERE = "http://127.0.0.1:9/data.gz"  # the discard port: refuses at once


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
