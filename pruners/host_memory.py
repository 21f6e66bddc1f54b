"""Offloading of activations: tensors that autograd saves for the backward pass are kept in the host's memory."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

LEAST_BYTES = 2**20  # smaller tensors stay on the GPU: moving them saves nothing and costs a call each
RESERVE = 0.2  # share of the memory available at the start that is left to the rest of the machine
UNKNOWN = 4 * 2**30  # bytes assumed to be available where the system does not say


@dataclass(frozen=True)
class _Moved:
    """Tensor in host memory: the contiguous range of memory that it spans, its size and strides, and its device."""

    span: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    device: torch.device


def available_bytes() -> int:
    """Return the bytes of host memory that this process may still take, according to the kernel and to its cgroup."""
    room = [_of_the_machine(), _of_the_cgroup(Path("/sys/fs/cgroup"))]
    return min((each for each in room if each is not None), default=UNKNOWN)


@contextmanager
def saved_in_host_memory(
    *,
    least_bytes: int = LEAST_BYTES,
    kinds: Collection[str] = ("cuda",),
    available: Callable[[], int] = available_bytes,
) -> Iterator[None]:
    """Keep what autograd saves inside this block in host memory, and bring it back when the backward pass needs it.

    The kernels are the same, in the same order, on tensors with the same strides: results are equal bit for bit,
    second derivatives included. Tensors of at least `least_bytes` on devices of these `kinds` are moved. Leaves are
    not: parameters are on the device in any case.

    Raises:
        torch.OutOfMemoryError: if less than a fifth of the memory that was available at the start would be left.
    """
    reserve = RESERVE * available()

    def pack(tensor: Tensor) -> Tensor | _Moved:
        if (
            tensor.device.type not in kinds
            or (tensor.is_leaf and tensor.requires_grad)
            or tensor.layout != torch.strided
        ):
            return tensor
        with torch.no_grad():
            span = _span(tensor)
            size = span.numel() * span.element_size()
            if size < least_bytes:
                return tensor
            if available() - 2 * size < reserve:  # torch rounds pinned memory up to a power of two
                raise torch.OutOfMemoryError(
                    f"The activations of this score do not fit into the host's memory either: {size / 2**20:.0f} MiB "
                    f"more would leave less than {reserve / 2**30:.1f} GiB for the rest of the machine."
                )
            return _Moved(_on_host(span), tensor.size(), tensor.stride(), tensor.device)

    def unpack(packed: Tensor | _Moved) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        with torch.no_grad():
            back = packed.span.to(packed.device, non_blocking=packed.span.is_pinned(), copy=True)
            return back.as_strided(packed.size, packed.stride)

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield
    finally:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            with suppress(AttributeError):  # missing in the oldest torch that is supported
                torch._C._host_emptyCache()  # torch caches free pinned memory, which other processes need


def _span(tensor: Tensor) -> Tensor:
    """Return the memory between the first and the last element as a vector, for any strides."""
    if not tensor.numel():
        return tensor.detach().flatten()
    length = 1 + sum((n - 1) * step for n, step in zip(tensor.size(), tensor.stride(), strict=True))
    return tensor.detach().as_strided((length,), (1,))


def _on_host(span: Tensor) -> Tensor:
    # Asynchronous copies are safe: the GPU's stream orders them, and nothing here reads the bytes on the host.
    host: Tensor | None = None
    if span.is_cuda:
        with suppress(RuntimeError):  # pinned memory may be limited
            host = torch.empty(span.shape, dtype=span.dtype, pin_memory=True)
    if host is None:
        host = torch.empty(span.shape, dtype=span.dtype)
    return host.copy_(span, non_blocking=host.is_pinned() if span.is_cuda else False)


def _of_the_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _of_the_cgroup(folder: Path) -> int | None:
    """Return the bytes that a container's limit leaves, or None without a limit; cached files count as free."""
    with suppress(OSError, ValueError):
        limit = int((folder / "memory.max").read_text(encoding="ascii"))  # "max" is no number
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        figures = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, limit - used + int(figures.get("inactive_file", 0)))
    return None
