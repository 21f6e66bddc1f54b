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

from orchestrator.planning.try_network import shortened
from pruners.errors import in_one_line
from search_spaces import Network, SpaceError, Trial
from trainables.architectures import Shape as ImageShape
from trainables.architectures import build
from trainables.architectures.global_state import own_draws
from trainables.datasets import lookup
from trainables.training.fast_paths import laid_out

TrialKind = tuple[str, str, int]  # dataset, architecture, batch size: what an epoch's time depends on most
PIXELS = 128 * 32 * 32  # of the images that are tried out at once
SLACK = 1.3  # an epoch is more than its steps: data and evaluation
TEST = 1 / 3  # of what training costs: a test has no backward pass, which is twice the forward one
TrialShape = tuple[str, str]  # architecture, size of the images: what an image's time depends on most


def kind(trial: Trial) -> TrialKind:
    """The trials whose epochs cost about the same."""
    return trial.dataset, Network(trial.architecture, trial.network.options).label, trial.batch_size


def shape(trial: Trial) -> TrialShape:
    """The trials whose images take about as long each, whatever set they are of: a small folder tells of ImageNet."""
    return kind(trial)[1], "x".join(map(str, lookup(trial.dataset).input_shape))


def trial_seconds(
    trials: Sequence[Trial],
    measured: Mapping[TrialKind, Sequence[float]],
    speeds: Mapping[TrialShape, Sequence[float]] = MappingProxyType({}),
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

    Raises:
        SpaceError: in one line, if the network cannot do it.
    """
    spec = lookup(dataset)
    images = min(batch_size, max(4, PIXELS // math.prod(spec.input_shape[1:])))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with own_draws(0, "cost"):
            seconds = _timed(network, spec.input_shape, spec.num_classes, images)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
        size = "x".join(map(str, (images, *spec.input_shape)))
        raise SpaceError(
            f"architecture {network.label}: it does not train on {size} numbers: {shortened(in_one_line(error))}"
        ) from None
    finally:
        torch.set_num_threads(threads)
    return seconds * batch_size / images


def _timed(network: Network, input_shape: ImageShape, num_classes: int, images: int) -> float:
    """Return the CPU seconds of the second of two steps."""
    model = build(network.fresh, input_shape, num_classes, seed=0)
    try:
        return _second_step(laid_out(model, input_shape), images, input_shape)
    except RuntimeError:  # a `view` of what lies channels-last, say; a trial goes without then, as `fast_paths` proves
        return _second_step(build(network.fresh, input_shape, num_classes, seed=0), images, input_shape)


def _second_step(model: nn.Module, images: int, input_shape: ImageShape) -> float:
    y = torch.zeros(images, dtype=torch.int64)
    started = 0.0
    for _ in range(2):
        x = torch.zeros(images, *input_shape)  # made anew: a model may change its input in place
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
