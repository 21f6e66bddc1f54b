"""Random numbers: the same for the same seed and offset of a CUDA generator, whether drawn at once or by a graph.

Torch's own code keeps the books. For each operator that draws, one of torch's own kernels is launched on one element;
the runtime does not do it, but reads the argument that tells the kernel its seed and offset: two numbers, or, in a
capture, the addresses from which every replay reads them. So unregistered generators are refused in captures, and
replays move generators on, as torch has it. The numbers are the CPU's, and every draw moves the offset by 4; a real
GPU's numbers are others, and large tensors move its offset further.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch

from pretended_gpu.library import library

Seed = Callable[[], int]  # of the CPU's generator; in a graph it is another in each replay


class _Philox(ctypes.Structure):
    """at::PhiloxCudaState. Seed and offset are addresses if `captured`."""

    _fields_ = (
        ("seed", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("offset_in_graph", ctypes.c_uint64),
        ("captured", ctypes.c_bool),
    )


_torch_uniform: object = None
_CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


def keep_torch_uniform() -> None:
    """Remember torch's kernel of `uniform_`, before it is replaced."""
    global _torch_uniform  # noqa: PLW0603
    _torch_uniform = torch.library.get_kernel("aten::uniform_", "CUDA")


def draw(generator: torch.Generator | None, device: int) -> Seed:
    """Move the CUDA generator on by one draw; return where that draw's seed comes from."""
    state = _Philox()
    one = torch.empty(1, device=torch.device("cuda", device))
    library.pretended_watch_philox(ctypes.addressof(state))
    try:
        _torch_uniform.call_boxed(_CUDA, one, 0.0, 1.0, generator=generator)
    finally:
        library.pretended_watch_philox(None)
    if not state.captured:
        seed = _mixed(state.seed, state.offset)
        return lambda: seed

    def read() -> int:
        where = ctypes.c_uint64.from_address
        return _mixed(where(state.seed).value, where(state.offset).value + state.offset_in_graph)

    return read


def _mixed(seed: int, offset: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + offset) % 2**63


def seeded(seed: Seed) -> torch.Generator:
    """Return a CPU generator for one draw."""
    return torch.Generator().manual_seed(seed())
