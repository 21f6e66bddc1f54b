"""Cost of trials in seconds, from earlier measured epochs or images, else from a training step timed here."""

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

TrialKind = tuple[str, str, int]  # dataset, architecture, batch size: the main factors of an epoch's time
PIXELS = 128 * 32 * 32  # most pixels of images in the timed step
SLACK = 1.3  # an epoch takes longer than its steps: data loading and evaluation
TEST = 1 / 3  # cost of a test relative to training: a test has no backward pass, which costs twice the forward pass
TrialShape = tuple[str, str]  # architecture, size of the images: the main factors of an image's time


def trial_kind(trial: Trial) -> TrialKind:
    """Return the kind of a trial; epochs of one kind take about the same time."""
    return trial.dataset, Network(trial.architecture, trial.network.options).label, trial.batch_size


def shape(trial: Trial) -> TrialShape:
    """Return the shape of a trial; one image takes about the same time for one shape, whatever dataset it is from.

    So a small folder of images of ImageNet's size predicts ImageNet.
    """
    return trial_kind(trial)[1], "x".join(map(str, lookup(trial.dataset).input_shape))


def trial_seconds(
    trials: Sequence[Trial],
    measured: Mapping[TrialKind, Sequence[float]],
    speeds: Mapping[TrialShape, Sequence[float]] = MappingProxyType({}),
) -> dict[str, float]:
    """Return the expected seconds of training per trial, by fingerprint.

    `measured` holds the seconds per epoch of finished trials; `speeds` holds the images per second of finished trials,
    used where no epoch of the same kind is known. Kinds without either are timed on one CPU thread.
    """
    return {
        t.fingerprint: t.epochs_to_train * _epoch_seconds(t, measured.get(trial_kind(t), ()), speeds.get(shape(t), ()))
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
    """Return the CPU seconds of one training step, extrapolated from a timed step on zeros, after one of warm-up.

    CPU time, because machines may be busy. Of large images fewer are timed than a batch has: 256 of ImageNet's would
    fill the memory of many laptops.

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
            f"architecture {network.label}: it does not train on a batch of {size}: {shortened(in_one_line(error))}"
        ) from None
    finally:
        torch.set_num_threads(threads)
    return seconds * batch_size / images


def _timed(network: Network, input_shape: ImageShape, num_classes: int, images: int) -> float:
    """Return the CPU seconds of the second of two steps."""
    model = build(network.fresh, input_shape, num_classes, seed=0)
    try:
        return _second_step(laid_out(model, input_shape), images, input_shape)
    except RuntimeError:  # such as `view` on a channels-last tensor; `fast_paths` turns that layout off in trials
        return _second_step(build(network.fresh, input_shape, num_classes, seed=0), images, input_shape)


def _second_step(model: nn.Module, images: int, input_shape: ImageShape) -> float:
    y = torch.zeros(images, dtype=torch.int64)
    started = 0.0
    for _ in range(2):
        x = torch.zeros(images, *input_shape)  # new in each step: a model may change its input in place
        started = time.process_time()
        torch.nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    return time.process_time() - started


def wall_seconds(seconds: Sequence[float], concurrency: int) -> float:
    """Return the time for trials of these lengths if `concurrency` run at once and each free slot takes the next."""
    slots = [0.0] * max(1, concurrency)
    for length in seconds:
        heapreplace(slots, slots[0] + length)
    return max(slots)
