"""Each pruner's masks on the GPU against the CPU's, and what TF32 would move of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.gpu.harness import Result, Setting, apart, judged, moved, unequal
from pruners import PruningError, gradients
from pruners.float32 import ieee_float32, tf32
from pruners.prune import Pruning, find
from pruners.registry import PRUNERS
from search_spaces import Network
from trainables import datasets
from trainables.architectures import build
from trainables.training.fast_paths import laid_out

COMPRESSION = 20.0
ITERATIONS = 5  # of pruners that take a hundred: rounding is followed as well by few
ALLOWED = 0.01  # of the kept weights of a pruner that selects once, in IEEE float32

Batches = list[tuple[Tensor, Tensor]]
Context = Callable[[], AbstractContextManager[object]]


def masks(setting: Setting) -> Iterator[Result]:
    """Masks of every pruner: CPU against GPU in float32 and float64, with TF32 and without, twice the same."""
    torch.backends.cudnn.deterministic = True
    data = datasets.load(setting.dataset, None, setting.cache)
    batches = data.scoring_batches(0, 2 if setting.small else 10)
    network = build(Network(setting.network), data.input_shape, data.num_classes, 0)
    subject = _Subject(laid_out(network, data.input_shape), batches)
    for name, pruner in PRUNERS.items():
        try:
            if pruner.check is not None:
                pruner.check(network, data.input_shape)
        except PruningError as error:  # a sweep refuses it on this network too
            yield Result(f"masks: {name}", "skipped", str(error))
            continue
        try:
            yield _compare(name, subject)
        except Exception as error:  # noqa: BLE001 - the other pruners are still to be seen
            yield Result(f"masks: {name}", "FAIL", f"{type(error).__name__}: {str(error)[:200]}")


@dataclass(frozen=True)
class _Subject:
    """The network that is pruned, and what its scores look at."""

    network: nn.Module
    batches: Batches

    def find(self, name: str, iterations: int, device: str, kind: torch.dtype = torch.float32) -> Pruning:
        """Return what the pruner finds on a device, computed in numbers of this kind."""
        network = copy.deepcopy(self.network).to(device, kind)
        batches = [(x.to(device, kind), y.to(device)) for x, y in self.batches]
        asked: dict[str, Any] = {"iterations": iterations} if iterations > 1 else {}
        if PRUNERS[name].whole_filters:
            asked["granularity"] = "filter"
        return find(network, PRUNERS[name], COMPRESSION, batches, **asked)


def _compare(name: str, subject: _Subject) -> Result:
    iterations = min(PRUNERS[name].iterations, ITERATIONS)

    def found(device: str, context: Context = ieee_float32, kind: torch.dtype = torch.float32) -> Pruning:
        with context():
            return subject.find(name, iterations, device, kind)

    started = time.perf_counter()
    ours = found("cpu", nullcontext)
    middle = time.perf_counter()
    first = found("cuda")
    torch.cuda.synchronize()
    seconds = middle - started, time.perf_counter() - middle
    again = found("cuda")
    allowed = found("cuda", tf32)  # as torch has it by default: scores must not heed that
    rounded = found("cuda", _scored_in_tf32)
    same, heeded = unequal(first.masks, again.masks) == 0, moved(first.masks, allowed.masks)
    off, on = moved(ours.masks, first.masks), moved(ours.masks, rounded.masks)
    counts = {sum(int(mask.sum()) for mask in each.masks.values()) for each in (ours, first, rounded)}
    figures = [
        f"moved from the CPU's: {off:.2%}, in TF32 {on:.2%}",
        f"scores differ by {apart(ours.scores, first.scores):.0e}",
        f"twice the same: {'yes' if same else 'no'}",
    ]
    if heeded:
        figures.append(f"{heeded:.2%} moved where the process allows TF32")
    if iterations == 1:
        double = [found(device, kind=torch.float64).masks for device in ("cpu", "cuda")]
        figures.append(f"in float64 {moved(*double):.2%}")
    else:
        figures.append(f"{iterations} iterations")
    figures.append(f"{seconds[1]:.2f} s, CPU {seconds[0]:.2f} s")
    good = len(counts) == 1 and same and not heeded
    if iterations > 1:  # which weights are kept next follows from which were kept before: rounding grows
        return Result(f"masks: {name}", "reported" if good else "FAIL", "; ".join(figures))
    return judged(f"masks: {name}", good and off <= ALLOWED, "; ".join(figures))


@contextmanager
def _scored_in_tf32() -> Iterator[None]:
    """Compute scores in TF32, which `pruners` does not, to show what that would move."""
    with tf32(), patch.object(gradients, "ieee_float32", tf32):
        yield
