"""Trials of one machine share the images: what each adds to the memory in use is small."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import memory
from trainables.datasets import DATASETS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason=sys.platform)]


def test_another_trial_on_cifar10_takes_less_than_50_mb_for_its_images(tmp_path):
    spec = DATASETS["cifar10"]
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for part, n in (("train", spec.train_size), ("test", spec.test_size)):
        np.lib.format.open_memmap(folder / f"{part}_x.npy", "w+", np.uint8, (n, *spec.input_shape))
        np.save(folder / f"{part}_y.npy", np.arange(n) % 10)
    found = memory(tmp_path, processes=2)
    assert len(found) == 2
    assert all(values["most"] - values["before"] < 50 for values in found), found
