"""Prefetching: copy streamed batches to a GPU on a side stream while it trains on the batch before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache

import torch
from torch import Tensor

from trainables.datasets.resident import with_index

AHEAD = 2  # steps that the host may be ahead of the GPU; each holds a batch on the GPU and one in pinned memory


def prefetched(
    batches: Iterable[Tensor], device: torch.device | str, prepare: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield `prepare(batch)` on `device` (CUDA) for each of `batches`, pinned tensors on the host.

    Steps are launched long before the GPU reaches them. So the side stream copies a batch while earlier steps compute;
    the consumer's stream waits for the copy, the host does not. The host waits only if it is more than `AHEAD` steps
    ahead: when training runs as CUDA graphs, nothing else would hold it back. No batch is fetched before it is asked
    for, so an iterator that is left early leaves nothing behind.
    """
    device = with_index(device)
    side = _side_stream(device)
    steps: deque[torch.cuda.Event] = deque()
    for batch in batches:
        with torch.cuda.stream(side):
            ready = prepare(batch)
        consumer = torch.cuda.current_stream(device)
        consumer.wait_stream(side)
        ready.record_stream(consumer)  # it was allocated on the side stream, which would reuse its memory too early
        yield ready
        step = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        step.record(torch.cuda.current_stream(device))
        steps.append(step)
        if len(steps) > AHEAD:
            steps.popleft().synchronize()


@cache  # torch's allocator keeps memory per stream: a new stream for each epoch would hold it several times
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
