"""Keep a user's code from changing what the whole process computes with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from trainables.randomness import derive, seeded

# What other trials in this process depend on, and files of research code often set: how to read it and write it back.
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
    """Seed torch's, numpy's and Python's global generators inside; restore them and torch's settings afterwards.

    For user code that builds or runs a network. The draws of torch are those of `randomness.seeded`.
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
