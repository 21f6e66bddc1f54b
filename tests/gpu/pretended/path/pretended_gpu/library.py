"""The pretended CUDA runtime as Python calls it, and the kernels that it calls in Python."""

from __future__ import annotations

import ctypes
import itertools
import os
import traceback
from collections.abc import Callable

import torch

library = ctypes.CDLL(os.environ["PRETENDED_GPU_LIBRARY"])
library.pretended_launch.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_long, ctypes.c_char_p]
library.pretended_is_capturing.argtypes = [ctypes.c_int, ctypes.c_void_p]
library.pretended_is_pinned.argtypes = [ctypes.c_void_p]
library.pretended_in_private_pool.argtypes = [ctypes.c_void_p]
library.pretended_watch_philox.argtypes = [ctypes.c_void_p]
library.pretended_count.argtypes = [ctypes.c_char_p, ctypes.c_long]
library.pretended_counts.restype = ctypes.c_char_p

_Hook = ctypes.CFUNCTYPE(None, ctypes.c_long)
_Trace = ctypes.CFUNCTYPE(None, ctypes.c_char_p)

_recorded: dict[int, Callable[[], object]] = {}  # the kernels of graphs, by number
_numbers = itertools.count(1)


def _run(number: int) -> None:
    with torch._C.DisableTorchFunction(), torch.no_grad():
        try:
            _recorded[number]()
        except Exception:  # noqa: BLE001 - there is no way to raise through CUDA's runtime
            traceback.print_exc()
            os._exit(70)


def _release(number: int) -> None:
    _recorded.pop(number, None)


_hooks = [_Hook(_run), _Hook(_release)]  # ctypes frees those that nobody holds
_nobody = _Trace()
_listening: list[object] = [_nobody]


def listen(trace: Callable[[bytes], None] | None) -> None:
    """Have `trace` called with the name of each host synchronisation, from the thread that makes it."""
    _listening[0] = _Trace(trace) if trace else _nobody
    library.pretended_set_hooks(*_hooks, _listening[0])


def unhook() -> None:
    """Keep the runtime from calling into a Python that ends."""
    library.pretended_set_hooks(None, None, None)


def stream(device: int) -> int:
    """Return the handle of the current stream."""
    return torch._C._cuda_getCurrentRawStream(device)


def is_capturing(device: int) -> bool:
    """Return True if the current stream is being captured."""
    return bool(library.pretended_is_capturing(device, stream(device)))


def launch(name: str, device: int, kernel: Callable[[], object]) -> bool:
    """Report a kernel to the runtime; return True if it was recorded: else the caller does it now.

    Without a name it is a copy from or to the host, which is not counted among the launches.

    Raises what torch raises where a launch fails.
    """
    number = next(_numbers)
    _recorded[number] = kernel
    found = library.pretended_launch(device, stream(device), number, name.encode())
    if found == 1:
        return True
    del _recorded[number]
    if found < 0:
        torch.cuda._sleep(1)  # a kernel of torch's own: its launch fails for the same reason, and torch says so
        raise RuntimeError(f"pretended GPU: error {-found} of the launch of {name} is not torch's")
    return False
