"""MACs against the literature and against torch's own counter; memory against what is counted by hand."""

from __future__ import annotations

from time import perf_counter, thread_time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainables import profiling
from trainables.architectures import build
from trainables.profiling import BATCH, TIMED_MACS, file_mb, latency, macs, peak_mb, profile, timed_inputs

CIFAR = (3, 32, 32)


def total(model, shape):
    return sum(weights + bias for weights, bias in macs(model, shape).values())


def test_vgg16_costs_what_the_papers_tables_say():
    assert total(build("vgg16-bn", CIFAR, 10, seed=0), CIFAR) == 313_478_154


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.Flatten(), nn.Linear(8 * 36, 5, bias=False)),
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1, bias=False)),
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False)),
    ],
    ids=["grouped", "depthwise", "transposed"],
)
def test_macs_are_half_of_torchs_flops(model):
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 4, 8, 8))
    assert total(model, (4, 8, 8)) == counter.get_total_flops() // 2


def test_a_weight_used_twice_counts_twice():
    shared = nn.Linear(3, 3)
    assert macs(nn.Sequential(nn.Flatten(), shared, shared), (3, 1, 1)) == {"1.weight": (18, 6)}


def test_counting_leaves_no_hooks_and_no_traces():
    model = build("resnet20", CIFAR, 10, seed=0).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    macs(model, CIFAR)
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_profile_counts_kept_weights_and_the_biases_that_stay():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    mask = torch.tensor([[True, False, False, False], [True, True, False, False]])
    scores = torch.arange(8.0).reshape(2, 4)
    (layer,) = profile(model, {"1.weight": mask}, {"1.weight": scores}, (1, 2, 2))
    assert (layer.params, layer.kept, layer.density) == (8, 3, 0.375)
    assert (layer.macs, layer.macs_kept) == (8 + 2, 3 + 2)
    assert (layer.score_mean, layer.score_std) == (3.5, pytest.approx(5.25**0.5))


def test_the_dense_profile_keeps_all_and_has_no_scores():
    layers = profile(build("mlp", (1, 8, 8), 10, seed=0), {}, {}, (1, 8, 8))
    assert all(layer.density == 1 and layer.macs_kept == layer.macs and layer.score_mean is None for layer in layers)


def test_peak_memory_counts_parameters_and_activations():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1000, 500, bias=False))
    # the weights, 64 inputs and 64 outputs, float32
    assert peak_mb(model, (10, 10, 10)) == pytest.approx((500_000 + 64_000 + 32_000) * 4 / 1e6, rel=0.2)
    assert peak_mb(model, (10, 10, 10)) == peak_mb(model, (10, 10, 10))


def test_measurements_are_positive_numbers():
    model = build("conv", (1, 8, 8), 10, seed=0)
    found = latency(model, model, (1, 8, 8))
    assert min(found.ms, found.dense_ms, found.speedup) > 0 <= found.spread
    assert file_mb(model) == pytest.approx(sum(p.numel() for p in model.parameters()) * 4 / 1e6, rel=0.05)


def test_the_speedup_is_the_median_of_the_pairs_and_the_milliseconds_are_of_64_inputs(monkeypatch):
    pairs = [(0.8, 0.2), (0.4, 0.4), (0.6, 0.2), (0.3, 0.2), (0.2, 0.1)]  # 4, 1, 3, 1.5 and 2 times as fast
    sizes = []

    def timed(dense, model, clock):
        sizes.extend(len(network()) for network in (dense, model))
        return pairs

    monkeypatch.setattr(profiling, "paired_times", timed)
    monkeypatch.setattr(profiling, "timed_inputs", lambda *_: 16)
    dense, small = (nn.Sequential(nn.Flatten(), nn.Linear(4, width)) for width in (9, 2))
    found = latency(dense.train(), small.eval(), (1, 2, 2))
    assert (found.speedup, found.spread) == (2, pytest.approx(3 - 1.5))
    assert (found.ms, found.dense_ms) == (pytest.approx(4 * 200), pytest.approx(4 * 400))
    assert sizes == [16, 16]
    assert (dense.training, small.training) == (True, False)
    assert found.metrics.keys() == {f"model/{name}" for name in ("latency_ms", "latency_inputs", "speedup",
                                                                 "speedup_spread")}  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(1, BATCH), (64, BATCH), (65, BATCH // 2), (256, BATCH // 4), (100_000, 1)]
)
def test_large_networks_are_timed_with_fewer_inputs(outputs, inputs):
    width = TIMED_MACS // 64 // BATCH  # so that 64 outputs of `BATCH` inputs take `TIMED_MACS`
    with torch.device("meta"):  # where nothing is computed
        model = nn.Sequential(nn.Flatten(), nn.Linear(width, outputs, bias=False))
    assert timed_inputs(model, (1, 1, width)) == inputs


def test_a_network_that_cannot_be_counted_is_timed_with_all_inputs():
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("no")

    assert timed_inputs(Broken(4, 2), (4,)) == BATCH


@pytest.mark.parametrize(("threads", "clock"), [(1, thread_time), (2, perf_counter)])
def test_time_that_other_processes_take_does_not_count_on_one_thread(monkeypatch, threads, clock):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert profiling._clock(torch.zeros(1)) is clock
