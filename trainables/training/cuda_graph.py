"""A training step as one CUDA graph: on small networks a GPU otherwise waits for Python, kernel after kernel.

A graph repeats what was launched once, on the same memory. So each batch is copied to where the first one was, and the
learning rate and the masks are numbers on the GPU. Forward, backward, optimizer, masks and averages are in the graph;
making the batch is not. What a network's own Python would do otherwise in later steps is not done.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruners.errors import in_one_line
from trainables.training.step import Stepper

WARM = 3  # steps before: cuDNN and cuBLAS start in them, and the optimizer allocates its moments
SIZES = 2  # an epoch has whole batches and at most one other


@dataclass(frozen=True)
class Graph:
    """One captured step and the memory it works on."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    y: Tensor
    sums: Tensor  # what `Stepper.gradients` returns, overwritten by each replay
    gradients: list[Tensor | None]  # of the parameters, where masks change by them; else empty


class Captured:
    """Make steps as a `Stepper` does: after its first steps by replaying a CUDA graph for each size of batch.

    Graphs share one pool of memory, as only one of them runs at a time. Where capturing fails, or its memory is
    needed elsewhere (`release`), steps are made one kernel after the other, which gives the same numbers.
    """

    def __init__(self, step: Stepper, model: nn.Module, changes: bool, tell: Callable[[str], object]) -> None:
        """`changes`: masks change by the gradients of a step. `tell` hears how training goes, or why not so."""
        self._step, self._tell, self._changes = step, tell, changes
        self._parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self._graphs: dict[torch.Size, Graph] = {}
        self._warm: Counter[torch.Size] = Counter()  # steps made one kernel after the other, by size of batch
        self._uncaptured: set[torch.Size] = set()  # sizes of which no graph could be made
        self._refused = False

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Stepper`. The next step overwrites what is returned."""
        known = self._graph(x, y)
        if known is None:
            return self._eager(x, y)
        known.x.copy_(x)
        known.y.copy_(y)
        known.graph.replay()
        for weight, gradient in zip(self._parameters, known.gradients, strict=False):
            weight.grad = gradient
        self._step.finish()
        return known.sums

    def release(self, why: str) -> bool:
        """Give up the graphs for the memory that they hold; return whether there were any."""
        there = bool(self._graphs)
        if there:
            self._refuse(why)
        return there

    def _graph(self, x: Tensor, y: Tensor) -> Graph | None:
        size = x.shape
        # One step of its own is enough for the second size: cuDNN loads and times kernels for each, and may do neither
        # in a capture.
        cold = self._warm[size] < (1 if self._graphs else WARM)
        if self._refused or cold or size in self._uncaptured:
            return None
        if size not in self._graphs and len(self._graphs) < SIZES:
            self._capture(x, y)
        return self._graphs.get(size)

    def _eager(self, x: Tensor, y: Tensor) -> Tensor:
        if self._refused or x.shape in self._uncaptured or len(self._graphs) == SIZES:
            return self._step(x, y)
        before = None if self._warm else _host_draws()
        self._warm[x.shape] += 1
        # torch asks that the steps before a capture are made on another stream than the default one. It is the same
        # one each time: memory that was freed on a stream serves that stream alone.
        current, side = torch.cuda.current_stream(x.device), _side_stream(x.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            sums = self._step(x, y)
        current.wait_stream(side)
        sums.record_stream(current)
        if before is not None and before != _host_draws():
            self._refuse("the network draws random numbers on the host")  # a graph would repeat the first ones for ever
        return sums

    def _capture(self, x: Tensor, y: Tensor) -> None:
        """Capture a step without making it. If that fails steps of that size are made one kernel after the other."""
        pool, why = next((known.graph.pool() for known in self._graphs.values()), None), ""
        try:
            x, y = x.clone(), y.clone()
            _give_back()  # what the steps before took, or the graph's memory would come on top of it
            graph = torch.cuda.CUDAGraph()
            # Other threads (a loader that pins memory) may do meanwhile what a capture forbids its own thread.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                sums = self._step.compute(x, y)
            gradients = [weight.grad for weight in self._parameters] if self._changes else []
            self._graphs[x.shape] = Graph(graph, x, y, sums, gradients)
        except Exception as error:  # noqa: BLE001 - a trial must not fail of what only makes it faster
            why = in_one_line(error)
        if not why:
            self._tell("one CUDA graph")
        elif self._graphs:
            self._uncaptured.add(x.shape)
            self._drop_gradients()
            self._tell(f"one CUDA graph; batches of {len(x)} step by step: {why}")
        else:
            self._refuse(why)  # after the exception is gone, whose frames hold tensors

    def _refuse(self, why: str) -> None:
        self._refused = True
        self._tell(f"step by step: {why}")
        self._graphs.clear()
        self._drop_gradients()

    def _drop_gradients(self) -> None:
        for weight in self._parameters:
            weight.grad = None
        _give_back()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _give_back() -> None:
    """Return all memory of the GPU that no tensor is in."""
    gc.collect()
    torch.cuda.empty_cache()


def _host_draws() -> tuple[object, ...]:
    """Where the random generators of the host are."""
    legacy: Any = np.random.get_state(legacy=True)
    return torch.default_generator.get_state().numpy().tobytes(), random.getstate(), legacy[1].tobytes(), legacy[2]
