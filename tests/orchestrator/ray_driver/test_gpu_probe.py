"""How many trials share a GPU: pure arithmetic, and the measurement where there is a GPU."""

from __future__ import annotations

import pytest
import torch

from orchestrator.ray_driver.gpu_probe import MARGIN, GpuMeasurement, packed, share
from search_spaces import Trial
from trainables.gpu.memory import CONTEXT_BYTES
from trainables.gpu_probe import made_up, peak_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("peak", "total", "cpus", "wanted"),
    [
        (2, 80, 64, 34),  # 80 / 2.3
        (2, 80, 8, 8),  # no more than the CPUs feed
        (2, 80, 0.5, 1),  # but one always runs
        (70, 80, 64, 1),
        (100, 80, 64, 1),  # too large: it gets the whole GPU, and says what it lacks
    ],
)
def test_as_many_as_fit(peak, total, cpus, wanted):
    assert packed(GpuMeasurement(peak * GIB, total * GIB, cpus), 1) == wanted


@pytest.mark.parametrize("n", range(1, 200))
def test_shares_have_four_decimals_and_add_up_to_no_more_than_one(n):
    found = share(GpuMeasurement(int(80 * GIB / n / (1 + MARGIN)), 80 * GIB, 1000), 1)
    assert round(found, 4) == found
    assert n * found <= 1 + 1e-9
    assert (n + 1) * found > 0.98  # and nothing is given away


def test_more_cpus_for_each_mean_fewer_at_once():
    assert share(GpuMeasurement(GIB, 80 * GIB, 16), 4) == 0.25


@pytest.mark.parametrize("pruner", ["snip", "synflow", "dense"])
def test_made_up_images_are_enough_for_a_trial(pruner):
    trial = Trial(dataset="cifar10", architecture="conv", pruner=pruner, batch_size=64, samples_per_class=3)
    data = made_up(trial)
    assert sum(len(y) for _, y in data.train_batches(0, 1, 64)) == 4 * 64
    assert len(data.scoring_batches(0, 3)[0][1]) == 30
    assert data.train_x.untyped_storage().nbytes() < 4000


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_without_cuda_it_is_said():
    with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
        peak_bytes([Trial(dataset="digits", architecture="mlp")], torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here: the memory of a trial is not measured")
def test_a_larger_batch_takes_more():
    trials = [Trial(dataset="cifar10", architecture="resnet20", batch_size=n, pruner="grasp") for n in (128, 1024)]
    sizes = [peak_bytes([trial], torch.device("cuda")) for trial in trials]
    assert CONTEXT_BYTES < sizes[0] < sizes[1]
