"""What a trial takes of a GPU's memory, and what happens where its share is too small."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.harness import GRAPH, Result, Setting, apart, judged, moved, step_by_step
from pruners.prune import Pruning, find
from search_spaces import Network, Trial
from trainables import datasets
from trainables.architectures import build
from trainables.gpu.memory import CONTEXT_BYTES
from trainables.training.fast_paths import laid_out

MIB = 2**20
LEAST = 0.01  # of a GPU: `trainables.gpu.memory.allowed` gives any trial as much
MORE = 1.2  # times the memory of single steps that a graph may take
TIGHT = 0.6  # of the memory that a trial or a score needs
ROUNDING = 1e-4  # of the largest score of a layer


def memory(setting: Setting) -> Iterator[Result]:
    """Peaks with a graph and without, limits that a graph or any trial exceeds, scoring in less memory."""
    # So large a batch that it needs more than `LEAST`; so deep a network that testing needs little beside training.
    batch, epochs = (200, 1) if setting.small else (2000, 6)
    trial = setting.trial(
        dataset="synthetic-32", architecture="resnet20", batch_size=batch, epochs=epochs, pruner="random", lr=0.01
    )
    with step_by_step():
        eager = _peak(setting, trial, "eager")
    graph = _peak(setting, trial, "graph")
    yield judged(
        "memory: a graph's",
        graph.reserved <= MORE * eager.reserved,
        f"ResNet-20, batch {batch}: reserved {graph.reserved / MIB:.0f} MiB, "
        f"step by step {eager.reserved / MIB:.0f}, of which {eager.allocated / MIB:.0f} are used",
    )
    yield from _too_small(setting, trial, TIGHT * eager.allocated)
    yield _window(setting, trial, eager.allocated, graph.reserved)
    yield from _scoring(setting)


@dataclass(frozen=True)
class _Peak:
    """Bytes: the most that tensors took, and the most that torch had for them."""

    allocated: int
    reserved: int


def _peak(setting: Setting, trial: Trial, name: str) -> _Peak:
    """Return what a trial takes.

    Raises:
        RuntimeError: if it does not finish.
    """
    _forget_peak()
    ran = setting.run(trial, f"peak {name}")
    if ran.outcome.end != "finished":
        raise RuntimeError(f"{name}: {ran.end}")
    return _Peak(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())


def _forget_peak() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def _window(setting: Setting, trial: Trial, low: float, high: float) -> Result:
    """Seek a limit at which a trial finishes step by step, as only its graph runs out of memory."""
    row = "memory: too little for a graph"
    for number in range(2 if setting.small else 6):
        limit = (low + high) / 2
        if _fraction(limit) < LEAST:
            return Result(row, "skipped", f"any trial may take {LEAST:.0%} of this GPU")
        ran = setting.run(trial, f"window {number}", gpus=_share(limit), grow=True)
        if ran.outcome.end == "memory":
            low = limit
        elif ran.outcome.end != "finished":
            return Result(row, "FAIL", f"with {limit / MIB:.0f} MiB: {ran.end}")
        elif ran.stepped == GRAPH:
            high = limit
        else:
            return Result(row, "ok", f"with {limit / MIB:.0f} MiB: finished, {ran.stepped[:100]}")
    return Result(row, "reported", f"with {high / MIB:.0f} MiB a graph, with {low / MIB:.0f} out of memory")


def _too_small(setting: Setting, trial: Trial, limit: float) -> Iterator[Result]:
    """Run a trial that needs more than it is given, then again with all of the GPU."""
    if _fraction(limit) < LEAST:
        yield Result("memory: too small a share", "skipped", f"any trial may take {LEAST:.0%} of this GPU")
        return
    first = setting.run(trial, "grown", gpus=_share(limit), grow=True)
    yield judged("memory: too small a share", first.outcome.end == "memory", f"with {limit / MIB:.0f} MiB: {first.end}")
    then = setting.run(trial, "grown", gpus=1.0, grow=True)
    yield judged("memory: then the whole GPU", then.outcome.end == "finished", f"in the same process: {then.end}")


def _fraction(limit: float) -> float:
    """Return the fraction of the GPU's memory that this is."""
    return limit / torch.cuda.get_device_properties(0).total_memory


def _share(limit: float) -> float:
    """Return the share of a GPU with which torch may allocate so much."""
    return _fraction(limit + CONTEXT_BYTES)


def _scoring(setting: Setting) -> Iterator[Result]:
    """Score in less memory than whole batches take."""
    data = datasets.load("synthetic-32", None, setting.cache)
    batches = data.scoring_batches(0, 5 if setting.small else 25)
    network = laid_out(build(Network("resnet20"), data.input_shape, data.num_classes, 0), data.input_shape).cuda()

    def scored(mode: str) -> Pruning:
        asked: dict[str, Any] = {"mode": mode}
        return find(copy.deepcopy(network), "snip", 10.0, batches, **asked)

    torch.backends.cudnn.deterministic = True
    # In eval mode inputs do not depend on each other, so that a batch can be split; in train mode by its norms they do.
    for mode in ("eval", "train"):
        scored(mode)  # cuDNN's and cuBLAS's own memory is not what is measured
        _forget_peak()
        whole, needed = scored(mode), torch.cuda.max_memory_reserved()
        _forget_peak()
        torch.cuda.set_per_process_memory_fraction(_fraction(TIGHT * needed))
        try:
            tight = scored(mode)
        except torch.OutOfMemoryError as error:
            yield Result(
                f"memory: scoring, {mode}", "FAIL", f"with {TIGHT:.0%} of {needed / MIB:.0f} MiB: {error}"[:200]
            )
            continue
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        difference, lost = apart(whole.scores, tight.scores), moved(whole.masks, tight.masks)
        yield judged(
            f"memory: scoring, {mode}",
            difference <= ROUNDING and tight.how != whole.how,
            f"with {TIGHT:.0%} of {needed / MIB:.0f} MiB: {tight.how}; scores move {difference:.0e}, masks {lost:.1%}",
        )
