"""What a plan will cost: from epochs measured before, else from a training step tried out here."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import cache
from heapq import heapreplace
from types import MappingProxyType

import torch
from torch import nn

from search_spaces import Network, Trial
from trainables.architectures import build
from trainables.datasets import lookup
from trainables.fast_paths import laid_out

Kind = tuple[str, str, int]  # dataset, architecture, batch size: what an epoch's time depends on most
PIXELS = 128 * 32 * 32  # of the images that are tried out at once
SLACK = 1.3  # an epoch is more than its steps: data and evaluation
TEST = 1 / 3  # of what training costs: a test has no backward pass, which is twice the forward one
Shape = tuple[str, str]  # architecture, size of the images: what an image's time depends on most


def kind(trial: Trial) -> Kind:
    """The trials whose epochs cost about the same."""
    return trial.dataset, Network(trial.architecture, trial.network.options).label, trial.batch_size


def shape(trial: Trial) -> Shape:
    """The trials whose images take about as long each, whatever set they are of: a small folder tells of ImageNet."""
    return kind(trial)[1], "x".join(map(str, lookup(trial.dataset).input_shape))


def trial_seconds(
    trials: Sequence[Trial],
    measured: Mapping[Kind, Sequence[float]],
    speeds: Mapping[Shape, Sequence[float]] = MappingProxyType({}),
) -> dict[str, float]:
    """Seconds of training per trial, by fingerprint: an expectation, not a promise.

    `measured` holds seconds per epoch of finished trials, `speeds` the images per second of those of which no such
    epoch is known. Kinds without either are tried out on one CPU thread.
    """
    return {
        t.fingerprint: t.epochs_to_train * _epoch_seconds(t, measured.get(kind(t), ()), speeds.get(shape(t), ()))
        for t in trials
    }


def _epoch_seconds(trial: Trial, measured: Sequence[float], speeds: Sequence[float]) -> float:
    if measured:
        return statistics.median(measured)
    spec = lookup(trial.dataset)
    if speeds:
        return (spec.train_size + TEST * spec.test_size) / statistics.median(speeds)
    steps = spec.train_size / trial.batch_size
    return SLACK * steps * _step_seconds(trial.dataset, trial.network, trial.batch_size)


@cache
def _step_seconds(dataset: str, network: Network, batch_size: int) -> float:
    """One forward and backward pass on made-up images, after one of warm-up; in CPU time, as machines may be busy.

    Of large images fewer are tried than a batch has: 256 of ImageNet's would fill the memory of many a laptop.
    """
    spec = lookup(dataset)
    images = min(batch_size, max(4, PIXELS // math.prod(spec.input_shape[1:])))
    model = build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = _second_step(laid_out(model, spec.input_shape), images, spec.input_shape)
    except RuntimeError:  # a `view` of what lies channels-last, say; a trial goes without then, as `fast_paths` proves
        model = build(network.fresh, spec.input_shape, spec.num_classes, seed=0)
        seconds = _second_step(model, images, spec.input_shape)
    finally:
        torch.set_num_threads(threads)
    return seconds * batch_size / images


def _second_step(model: nn.Module, images: int, input_shape: tuple[int, ...]) -> float:
    """Return the CPU seconds of a forward and backward pass, after one of warm-up."""
    x, y = torch.zeros(images, *input_shape), torch.zeros(images, dtype=torch.int64)
    started = 0.0
    for _ in range(2):
        started = time.process_time()
        torch.nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    return time.process_time() - started


def wall_seconds(seconds: Sequence[float], concurrency: int) -> float:
    """How long trials of these lengths take when `concurrency` run at once, each free slot taking the next."""
    slots = [0.0] * max(1, concurrency)
    for length in seconds:
        heapreplace(slots, slots[0] + length)
    return max(slots)


def words(seconds: float) -> str:
    """A length of time for people: `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 1:
        return "1 s"  # of what is short a second more or less matters to nobody, and 0 s would be untrue
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def several(count: int, what: str) -> str:
    """`1 cell`, `3 cells`."""
    return f"{count} {what}{'s' * (count != 1)}"
