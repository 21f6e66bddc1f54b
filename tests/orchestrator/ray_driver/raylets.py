"""Trials for real raylets, and what their records tell."""

from __future__ import annotations

import time
from collections.abc import Callable

from search_spaces import Trial
from trainables.record.event_log import read

SCORES = """
import os, ray, torch
from pathlib import Path

def gpus():
    return sum(n for name, n in ray.get_runtime_context().get_assigned_resources().items() if name.startswith("GPU"))

def hungry(model, batches, *, mode, generator):
    if gpus() < 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return {name: p.detach().abs() for name, p in model.named_parameters() if p.dim() > 1}

def insatiable(model, batches, *, mode, generator):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")

def curious(model, batches, *, mode, generator):
    raise ValueError(f"it has {gpus():g} GPUs")

def deadly(model, batches, *, mode, generator):
    with Path("LOG").open("a") as log:
        log.write("x")
    os._exit(1)
"""


def long(seed, epochs=200):
    return Trial(dataset="digits", architecture="mlp", epochs=epochs, seed=seed)


def epochs(folder):
    return [event["step"] for event, _ in read(folder) if "train/loss" in event.get("metrics", {})]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def tags(folder):
    return {key: value for event, _ in read(folder) for key, value in event.get("tags", {}).items()}
