"""Keep a user's code from changing the global settings and random states of the process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from trainables.randomness import derive, seeded

# Settings that other trials in this process depend on and that research code often changes: how to read and write each.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
)
CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")


@contextmanager
def own_draws(seed: int, *names: str | int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python inside; restore them and torch's settings afterwards.

    For user code that builds or runs a network. Torch is seeded by `randomness.seeded`.
    """
    before = [read() for read, _ in SETTINGS]
    generators = random.getstate(), np.random.get_state()
    cudnn = {name: getattr(torch.backends.cudnn, name) for name in CUDNN}
    device = torch.get_default_device()
    with seeded(seed, *names):
        random.seed(derive(seed, *names))
        np.random.seed(derive(seed, *names) % 2**32)
        try:
            yield
        finally:
            for (read, write), value in zip(SETTINGS, before, strict=True):
                if read() != value:
                    write(value)
            random.setstate(generators[0])
            np.random.set_state(generators[1])
            for name, value in cudnn.items():
                if getattr(torch.backends.cudnn, name) != value:
                    setattr(torch.backends.cudnn, name, value)
            if torch.get_default_device() != device:
                torch.set_default_device(None)
