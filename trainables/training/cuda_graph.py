"""Training steps captured in CUDA graphs: on small networks a GPU otherwise waits for Python between kernels.

A graph repeats the captured kernels on the same memory. So each batch is copied to where the first one was, and the
learning rate and the masks are tensors on the GPU. Forward, backward, optimizer, masks and averages are in the graph;
making the batch is not. Python code of a network that would act differently in later steps has no effect then.
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

WARM = 3  # eager steps before capturing: cuDNN and cuBLAS initialize, and the optimizer allocates its moments
SIZES = 2  # batch sizes of an epoch: the full size and at most one other


@dataclass(frozen=True)
class Graph:
    """A captured step and the memory that it works on."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    y: Tensor
    sums: Tensor  # what `Stepper.gradients` returns, overwritten by each replay
    gradients: list[Tensor | None]  # of the parameters, if mask updates need them; else empty


class CapturedStep:
    """Stepper that replays one CUDA graph per batch size after its first steps.

    Graphs share one memory pool, because only one of them runs at a time. If capturing fails, or the memory is needed
    elsewhere (`release`), steps run kernel by kernel, which gives the same numbers.
    """

    def __init__(self, step: Stepper, model: nn.Module, changes: bool, tell: Callable[[str], object]) -> None:
        """Wrap `step`. `changes`: mask updates need gradients. `tell` receives how steps are made, and why."""
        self._step, self._tell, self._changes = step, tell, changes
        self._parameters = [weight for weight in model.parameters() if weight.requires_grad]
        self._graphs: dict[torch.Size, Graph] = {}
        self._warm: Counter[torch.Size] = Counter()  # eager steps made so far, by batch size
        self._uncaptured: set[torch.Size] = set()  # batch sizes whose capture failed
        self._refused = False

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step as `Stepper` does. The next step overwrites the returned tensor."""
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
        """Drop the graphs to free their memory; return True if there were any."""
        there = bool(self._graphs)
        if there:
            self._refuse(why)
        return there

    def _graph(self, x: Tensor, y: Tensor) -> Graph | None:
        size = x.shape
        # The second batch size needs only one eager step: cuDNN loads and times kernels for each size, and can do
        # neither during a capture.
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
        # torch requires that the steps before a capture run on a stream other than the default one. The same stream is
        # used each time, because memory freed on a stream is reused on that stream only.
        current, side = torch.cuda.current_stream(x.device), _side_stream(x.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            sums = self._step(x, y)
        current.wait_stream(side)
        sums.record_stream(current)
        if before is not None and before != _host_draws():
            self._refuse("the network draws random numbers on the host")  # a graph would repeat the first draws
        return sums

    def _capture(self, x: Tensor, y: Tensor) -> None:
        """Capture a step without running it. If that fails, steps of this batch size run kernel by kernel."""
        pool, why = next((known.graph.pool() for known in self._graphs.values()), None), ""
        try:
            # The graph's memory comes on top of what the eager steps still hold.
            self._drop_gradients()
            if not self._graphs:  # later they are part of a graph
                self._step.renew_moments()
                _give_back()
            x, y = x.clone(), y.clone()
            graph = torch.cuda.CUDAGraph()
            # "thread_local": other threads, such as a loader that pins memory, may make calls that a capture forbids.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                sums = self._step.compute(x, y)
            gradients = [weight.grad for weight in self._parameters] if self._changes else []
            self._graphs[x.shape] = Graph(graph, x, y, sums, gradients)
        except Exception as error:  # noqa: BLE001 - a failed optimization must not fail the trial
            why = in_one_line(error)
        if not why:
            self._tell("one CUDA graph")
        elif self._graphs:
            self._uncaptured.add(x.shape)
            self._drop_gradients()
            self._tell(f"one CUDA graph; batches of {len(x)} step by step: {why}")
        else:
            self._refuse(why)  # outside of the except block, because the exception's frames hold tensors

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
    """Return unused GPU memory of torch's cache to the driver."""
    gc.collect()
    torch.cuda.empty_cache()


def _host_draws() -> tuple[object, ...]:
    """Return the states of the host's random generators: torch's, Python's and NumPy's."""
    legacy: Any = np.random.get_state(legacy=True)
    return torch.default_generator.get_state().numpy().tobytes(), random.getstate(), legacy[1].tobytes(), legacy[2]
