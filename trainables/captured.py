"""A training step as one CUDA graph: on small networks a GPU otherwise waits for Python, kernel after kernel.

A graph repeats what was launched once, on the same memory: so each batch is copied to where that one was, and the
learning rate is a number on the GPU. Forward, backward, optimizer, masks and averages are in the graph; making the
batch is not, and needs no host either. What a network's own Python would do otherwise in later steps is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pruners.errors import in_one_line
from trainables.masked import Masked
from trainables.stepping import Stepper

WARM = 3  # steps before: cuDNN chooses its kernels in them, and the optimizer allocates its moments
Replay = Callable[[], object]
Record = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]


def record(work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
    """A graph of `work`, which is not done by that: what replays it, and where its result will be."""
    graph = torch.cuda.CUDAGraph()
    current = torch.cuda.current_stream()
    # What torch did on this stream before, it expects there again; the default stream cannot be captured.
    stream = None if current == torch.cuda.default_stream() else current
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        found = work()
    return graph.replay, found


class Captured:
    """A `Stepper` that is captured after its first steps, and replayed on every batch of the first one's size."""

    def __init__(
        self,
        step: Stepper,
        optimizer: torch.optim.Optimizer,
        masked: Masked,
        tell: Callable[[str], object],
        record: Record = record,
    ) -> None:
        """`tell` hears once how training goes: "one CUDA graph", or step by step, and why."""
        self._step, self._optimizer, self._masked, self._tell, self._record = step, optimizer, masked, tell, record
        self._size: torch.Size | None = None
        self._made = 0
        self._replay: Replay | None = None
        self._refused = False

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """See `Stepper`. What is returned is overwritten by the next step."""
        self._size = x.shape if self._size is None else self._size
        if self._refused or x.shape != self._size or self._made < WARM:
            return self._eager(x, y)
        if self._replay is None:
            self._capture(x, y)
        if self._replay is None:
            return self._eager(x, y)
        self._x.copy_(x)
        self._y.copy_(y)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            rate.fill_(group["lr"])
        self._replay()
        self._masked.steps += 1
        return self._found

    def _eager(self, x: Tensor, y: Tensor) -> Tensor:
        before = self._random(x) if self._made == 0 else None  # in its first step nobody else draws
        found = self._step(x, y)
        self._made += 1
        if before is not None and not torch.equal(before, self._random(x)):
            self._refuse("it draws random numbers")  # a graph would draw them from one stream for all trials
        return found

    def _capture(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x.clone(), y.clone()
        try:
            with self._rates_there(x.device):
                self._replay, self._found = self._record(self._once)
            self._tell("one CUDA graph")
        except Exception as error:  # noqa: BLE001 - a trial must not fail of what only makes it faster
            self._optimizer.zero_grad(set_to_none=True)
            self._refuse(in_one_line(error))

    def _once(self) -> Tensor:
        steps = self._masked.steps
        try:
            return self._step(self._x, self._y)
        finally:
            self._masked.steps = steps  # it is recorded, not made

    @contextmanager
    def _rates_there(self, device: torch.device) -> Iterator[None]:
        """Inside, the optimizer reads its learning rates from tensors on `device`."""
        groups = self._optimizer.param_groups
        rates = [group["lr"] for group in groups]
        self._rates = [torch.tensor(float(rate), device=device) for rate in rates]
        try:
            for group, there in zip(groups, self._rates, strict=True):
                group["lr"] = there
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _refuse(self, why: str) -> None:
        self._refused = True
        self._tell(f"step by step: {why}")

    @staticmethod
    def _random(x: Tensor) -> Tensor:
        generator = torch.cuda.default_generators[x.device.index] if x.is_cuda else torch.default_generator
        return generator.get_state()
