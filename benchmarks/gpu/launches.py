"""What the host does in a training step: launches, and waits for the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec

import torch

from benchmarks.gpu.harness import Result, Setting, judged, step_by_step
from benchmarks.gpu.training import Epoch, batch_size, images_of, train

LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")
COPIES = ("cudaMemcpyAsync", "cudaMemsetAsync")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
SECOND = 2  # the epoch that is counted: graphs are captured in the first, after three steps
FEW = 0.01  # waits in a step: none but the epoch's own

Counts = tuple[float, float, float]  # launches, copies, waits


def launches(setting: Setting) -> Iterator[Result]:
    """Launches, copies and host synchronisations of a step, with a graph and without.

    Two epochs of different length are compared, so that what an epoch costs once (its test, its order) drops out.
    """
    short, long = (4, 6) if setting.small else (20, 60)
    for name, around in (("graph", ExitStack), ("step by step", step_by_step)):
        with around():
            few, many = (_of_an_epoch(setting, steps) for steps in (short, long))
        if not many[0]:
            yield Result(f"launches: {name}", "skipped", "torch's profiler sees no calls of CUDA here")
            continue
        each = [(b - a) / (long - short) for a, b in zip(few, many, strict=True)]
        figures = f"a step launches {each[0]:.1f} times, copies {each[1]:.1f}, waits {each[2]:.2f}; "
        figures += f"an epoch of {long} steps with its test waits {many[2]:.0f} times"
        yield judged(f"launches: {name}", each[2] <= FEW, figures)


def _of_an_epoch(setting: Setting, steps: int) -> Counts:
    """Return the counts of the second epoch of so many steps."""
    data = images_of(setting, steps * batch_size(setting))
    counter = _counter()
    stack = ExitStack()
    epochs = 0

    def tell(epoch: Epoch) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == SECOND - 1:
            stack.enter_context(counter)
        elif epochs == SECOND:
            stack.close()

    train(setting, data, "float32", SECOND, tell)
    return counter.counts()


class _Profiled(AbstractContextManager["_Profiled"]):
    """Counts of torch's profiler, on a real GPU."""

    def __init__(self) -> None:
        both = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        self._profile = torch.profiler.profile(activities=both)

    def __enter__(self) -> _Profiled:
        torch.cuda.synchronize()
        self._profile.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._profile.stop()

    def counts(self) -> Counts:
        times = Counter({event.key: event.count for event in self._profile.key_averages()})
        launched, copied, waited = (sum(times[name] for name in names) for names in (LAUNCHES, COPIES, WAITS))
        return launched, copied, waited


class _Pretended(AbstractContextManager["_Pretended"]):
    """Counts of a pretended GPU, which keeps them itself."""

    def __init__(self) -> None:
        from pretended_gpu import counting  # type: ignore[import-not-found]

        self._counting = counting()

    def __enter__(self) -> _Pretended:
        self._counts = self._counting.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._counting.__exit__(None, None, None)

    def counts(self) -> Counts:
        found = self._counts
        launched = found.launches.total() + found.graph_launches
        return launched, found.copies.total(), found.synchronizations.total()


def _counter() -> _Profiled | _Pretended:
    make: Callable[[], _Profiled | _Pretended] = _Pretended if find_spec("pretended_gpu") else _Profiled
    return make()
