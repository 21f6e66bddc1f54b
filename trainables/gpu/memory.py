"""Share of a GPU: memory limit, health check and NVIDIA MPS. Also freed memory that the C library keeps."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Mapping
from pathlib import Path

import torch

CONTEXT_BYTES = 600 * 2**20  # that a process takes on a GPU besides torch's allocator: CUDA context, cuBLAS, cuDNN
MPS_PIPES = "/tmp/nvidia-mps"  # NVIDIA's default for CUDA_MPS_PIPE_DIRECTORY


def allowed(share: float, total_bytes: int) -> float:
    """Return the fraction of a GPU's memory that torch may allocate so that the whole process keeps to its `share`.

    A trial that has a GPU to itself may use all of it. Torch gets at least 1 %, however small the share: then this
    trial runs out of memory, with an error that says so, and not the others on the GPU.
    """
    return 1.0 if share >= 1 else max(0.01, share - CONTEXT_BYTES / total_bytes)


def indexed(device: str) -> torch.device:
    """Return the device of that name with its index, and make a GPU the current device.

    "cuda" is the current GPU. Some functions of torch need the index.

    Raises:
        RuntimeError: if there is no such GPU, or it does not work.
    """
    found = torch.device(device)
    if found.type != "cuda":
        return found
    torch.cuda.init()  # type: ignore[no-untyped-call]
    found = torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)
    torch.cuda.set_device(found)
    return found


def keep_to(share: float, device: torch.device) -> None:
    """Limit the memory that this process allocates on `device`: Ray only counts shares, it does not enforce them."""
    if device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed(share, total) if share else 1.0, device)


def works(device: str) -> bool:
    """Return True if this process can still use the device: after most errors of a GPU no call to it succeeds."""
    if torch.device(device).type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
    except (RuntimeError, AssertionError):  # torch.AcceleratorError is a RuntimeError
        return False
    return True


def mps_runs(environment: Mapping[str, str]) -> bool:
    """Return True if NVIDIA's MPS control daemon listens where CUDA would look for it in this `environment`.

    With MPS, kernels of several processes run on a GPU at the same time; without it, the processes take turns.
    The socket that a killed daemon leaves behind does not count.
    """
    control = Path(environment.get("CUDA_MPS_PIPE_DIRECTORY") or MPS_PIPES) / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(control))
        except OSError as error:
            # Linux reports a wrong type of socket only if one of another type listens; the listener does not notice.
            return error.errno == errno.EPROTOTYPE
    return True


def sharing(mps: Mapping[str, bool]) -> str:
    """Return one line on how trials share GPUs; `mps` says of each node with a GPU whether MPS runs. "" if none has."""
    without = [node for node, runs in mps.items() if not runs]
    if not without:
        return "trials that share a GPU run on it at the same time: NVIDIA MPS runs" if mps else ""
    where = ""
    if len(mps) > 1:
        named = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        where = f" on {len(without)} of {len(mps)} nodes ({named})"
    return f"trials that share a GPU take turns on it: NVIDIA MPS does not run{where} (docs/gpus.md)"


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
MOST = 32 * 2**20  # bytes: the largest MMAP_THRESHOLD that glibc accepts; larger tensors get a map of their own


def keep_freed_memory(keep: bool = True) -> None:
    """Make the C library keep freed memory (`keep`), or return it to the system as it does by default.

    A step of ResNet-20 frees 200 MB. Without this, getting them again costs 20,000 page faults, a sixth of its time.
    Does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(MMAP_THRESHOLD, MOST)
    mallopt(TRIM_THRESHOLD, 2**31 - 1 if keep else 2 * MOST)  # glibc itself sets it to twice the other
