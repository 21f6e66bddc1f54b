"""Measurement of the GPU memory that a trial needs, on black images; run it in a fresh process."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from pruners.errors import is_out_of_memory
from search_spaces import Trial
from trainables.datasets import lookup
from trainables.datasets.memory import GROUP_BYTES, InMemory
from trainables.gpu.memory import CONTEXT_BYTES
from trainables.training.cuda_graph import WARM
from trainables.training.trainer import Trainer, make_trainer

TEST_IMAGES = 500  # the largest test batch


def peak_bytes(trials: Iterable[Trial], device: torch.device) -> int:
    """Return the largest peak memory of `trials` on `device` (CUDA), in bytes.

    It covers training, testing, scoring and the CUDA context.
    The trials share network, data and batch size, so only one per way of training is trained; each pruner scores once.
    Memory reserved by torch counts, not memory used: the allocator returns nothing while other trials wait for it.
    If the memory is too small, the result is the whole GPU's.

    Raises:
        RuntimeError: if there is no CUDA.
    """
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.reset_peak_memory_stats(device)
    some = list(trials)
    pruners = {(trial.pruner, str(trial.options)): trial for trial in some}
    ways = {(trial.accumulate, trial.precision, trial.ema > 0): trial for trial in some}
    try:
        for trial in ways.values():
            _bench(trial, device).train({}, state=None, save=lambda state: None)
        for trial in pruners.values():
            if trial.pruner != "dense" and not trial.mask:
                _bench(trial, device).find(trial.compression)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.max_memory_reserved(device) + CONTEXT_BYTES + max(map(_images_bytes, some))


def _bench(trial: Trial, device: torch.device) -> Trainer:
    short = trial.model_copy(update={"epochs": 1, "iterations": 1, "pretrain_epochs": 0, "levels": 0, "pretrained": ""})
    return make_trainer(short, made_up(short), device, save_seconds=60)


def _images_bytes(trial: Trial) -> int:
    """Return the bytes of the dataset and of prepared batches on the GPU; 0 if the dataset is not kept in memory."""
    spec = lookup(trial.dataset)
    if spec.path != "memory":
        return 0
    return (spec.train_size + spec.test_size) * math.prod(spec.input_shape) + 4 * GROUP_BYTES


def made_up(trial: Trial) -> InMemory:
    """Return a dataset of black images, enough for captured steps and scoring of `trial`; they share memory."""
    spec = lookup(trial.dataset)
    n = max((WARM + 1) * trial.batch_size, trial.samples_per_class * spec.num_classes)
    classes = torch.arange(n) % spec.num_classes
    image = torch.zeros(1, *spec.input_shape, dtype=torch.uint8)
    return InMemory(
        spec=spec,
        train_y=classes,
        test_y=classes[:TEST_IMAGES],
        rows=torch.arange(n),
        held_out=torch.arange(0),
        train_x=image.expand(n, -1, -1, -1),
        test_x=image.expand(min(n, TEST_IMAGES), -1, -1, -1),
    )
