"""Data on a GPU, real or pretended: the CPU's batches bit for bit, made in few kernels, waited for by nobody."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.architectures import build
from trainables.datasets import AUGMENTATIONS, DatasetError, load, resident
from trainables.datasets.prefetch import AHEAD, prefetched
from trainables.datasets.resident import release_unused
from trainables.profiling import latency, latency_setting, peak_mb, profile


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, real or pretended")
    release_unused(None)
    return torch.device("cuda", 0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def digits(cache):
    def with_augmentation(augment="pad4-flip"):
        data = load("digits", None, cache, validation=0.2)
        return replace(data, spec=replace(data.spec, augment=AUGMENTATIONS[augment]))

    return with_augmentation


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 2)):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (230 + 10 * (i % 3), 240, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{i}.png")
    return root


@contextmanager
def nobody_waits() -> Iterator[None]:
    """Inside, whatever makes the host wait for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Kernels(TorchDispatchMode):
    """Counts operations on tensors of a GPU that are not views."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(result, torch.Tensor) and result.is_cuda:
            self.count += 1
        return result


def same(found: Iterable, expected: Iterable) -> bool:
    pairs = list(zip(found, expected, strict=True))
    assert all(x.is_cuda and y.is_cuda for (x, y), _ in pairs)
    return bool(pairs) and all(torch.equal(a[0].cpu(), b[0]) and torch.equal(a[1].cpu(), b[1]) for a, b in pairs)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("share", [resident.SHARE, 0.0], ids=["resident", "too large for its share"])
def test_batches_are_the_cpus_bit_for_bit(gpu, digits, augment, share, monkeypatch):
    monkeypatch.setattr(resident, "SHARE", share)
    data = digits(augment)
    for options in ({}, {"skip": 3}, {"part": (1, 3), "micro": 2}, {"blind": True}):
        expected = data.train_batches(0, 1, 128, **options)
        assert same(data.train_batches(0, 1, 128, gpu, **options), expected)
    expected_test = [(torch.cat(part),) for part in zip(*data.test_batches(), strict=True)]
    found_test = [(torch.cat(part).cpu(),) for part in zip(*data.test_batches(gpu), strict=True)]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found_test, expected_test, strict=True))
    assert same(data.scoring_batches(0, 10, gpu), data.scoring_batches(0, 10))


@pytest.mark.parametrize("share", [resident.SHARE, 0.0], ids=["resident", "too large for its share"])
def test_nobody_waits_for_data_in_an_epoch(gpu, digits, share, monkeypatch):
    monkeypatch.setattr(resident, "SHARE", share)
    data = digits()
    ways = (
        lambda: data.train_batches(0, 1, 128, gpu),
        lambda: data.test_batches(gpu),
        lambda: data.validation_batches(gpu),
    )
    for way in ways:
        list(way())  # brings the images and the constants there, once in a process
        with nobody_waits():
            assert list(way())


def test_what_waits_is_noticed(gpu):
    there = torch.ones(1, device=gpu)
    with nobody_waits(), pytest.raises(RuntimeError, match="synchroniz"):
        there.item()


def test_an_epoch_takes_as_many_kernels_whatever_its_batches(gpu, digits):
    data = digits()
    list(data.train_batches(0, 1, 128, gpu))

    def kernels(batch_size: int) -> int:
        with Kernels() as counted:
            assert len(list(data.train_batches(0, 1, batch_size, gpu))) == -(-len(data.rows) // batch_size)
        return counted.count

    assert 0 < kernels(128) == kernels(16) < 30


def test_streamed_batches_are_the_cpus(gpu, photographs, tmp_path):
    for workers in (0, 1):
        data = load(f"folder:{photographs}", None, tmp_path, workers=workers)
        for options in ({}, {"skip": 1}, {"part": (1, 2)}, {"blind": True}):
            expected = data.train_batches(0, 1, 4, **options)
            assert same(data.train_batches(0, 1, 4, gpu, **options), expected)
        assert same(data.test_batches(gpu), data.test_batches())


def test_streaming_can_be_left_early_and_begun_again(gpu, photographs, tmp_path):
    data = load(f"folder:{photographs}", None, tmp_path)
    batches = data.train_batches(0, 1, 4, gpu)
    x, _ = next(batches)
    batches.close()
    assert torch.equal(x, next(data.train_batches(0, 1, 4, gpu))[0])


def test_a_streamed_image_that_cannot_be_read_is_a_dataset_error(gpu, photographs, tmp_path):
    data = load(f"folder:{photographs}", None, tmp_path)
    paths = data.files.train.copy()
    paths[-1] = b"/nowhere.png"
    damaged = replace(data, files=data.files._replace(train=paths))
    with pytest.raises(DatasetError, match=r"nowhere\.png"):
        list(damaged.train_batches(0, 1, 4, gpu))


def test_prefetched_batches_wait_for_their_copy_and_hold_few_at_a_time(gpu):
    gc.collect()
    torch.cuda.empty_cache()
    one = 2**20
    host = (torch.full((one,), i, dtype=torch.uint8).pin_memory() for i in range(12))
    before = torch.cuda.memory_stats(gpu)["active_bytes.all.current"]
    torch.cuda.reset_peak_memory_stats(gpu)
    totals = []
    for batch in prefetched(host, gpu, lambda x: x.to(gpu, non_blocking=True) + 1):
        totals.append(batch.sum())
    assert [int(total) for total in totals] == [one * (i + 1) for i in range(12)]
    # Those of the steps under way, the one that is prepared, and what it is prepared from.
    most = torch.cuda.memory_stats(gpu)["active_bytes.all.peak"]  # with those that a stream has yet to read
    assert most - before <= (AHEAD + 3) * one + 12 * 512


def test_images_of_another_dataset_leave_the_gpu(gpu, digits):
    before = torch.cuda.memory_allocated(gpu)
    data = digits()
    list(data.train_batches(0, 1, 128, gpu))
    held = torch.cuda.memory_allocated(gpu) - before
    assert held >= data.train_x.nbytes
    release_unused(data.spec)
    assert torch.cuda.memory_allocated(gpu) - before == held
    release_unused(replace(data.spec, digest="others"))
    assert torch.cuda.memory_allocated(gpu) == before


def test_images_leave_where_the_next_trial_has_too_small_a_share(gpu, digits, monkeypatch):
    data = digits()
    list(data.train_batches(0, 1, 128, gpu))
    monkeypatch.setattr(resident, "SHARE", 1e-9)
    release_unused(data.spec)
    assert not resident._resident


def test_models_in_cycles_are_freed_between_trials(gpu):
    before = torch.cuda.memory_reserved(gpu)
    model = torch.nn.Linear(4096, 4096, device=gpu)
    model.itself = [model]
    del model
    release_unused(None)
    assert torch.cuda.memory_reserved(gpu) <= before


def test_a_model_on_a_gpu_can_be_measured(gpu):
    shape = (1, 8, 8)
    on_cpu, on_gpu = (build("conv", shape, 10, seed=0).to(device) for device in ("cpu", gpu))
    assert profile(on_gpu, {}, {}, shape) == profile(on_cpu, {}, {}, shape)
    found = latency(on_gpu, on_gpu, shape)
    assert min(found.ms, found.speedup) > 0
    assert found.inputs == 64
    assert peak_mb(on_gpu, shape) == pytest.approx(peak_mb(on_cpu, shape), rel=0.1)
    assert on_gpu.training


def test_the_latency_says_whether_it_was_measured_alone():
    assert [latency_setting(share) for share in (0, 1, 2, 0.25)] == ["alone"] * 3 + ["beside other trials"]
