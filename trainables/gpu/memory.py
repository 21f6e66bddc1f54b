"""A trial's share of a GPU: its memory, whether it works, and whether those who share it compute at the same time."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Mapping
from pathlib import Path

import torch

CONTEXT_BYTES = 600 * 2**20  # of a process on a GPU, outside of what torch allocates: CUDA context, cuBLAS, cuDNN
MPS_PIPES = "/tmp/nvidia-mps"  # NVIDIA's default for CUDA_MPS_PIPE_DIRECTORY


def allowed(share: float, total_bytes: int) -> float:
    """Return the fraction of a GPU's memory that torch may allocate so that the whole process keeps to its `share`.

    A trial that has the GPU to itself may take it all. At least 1 % is left for torch, however small the share:
    the trial then runs out of memory by itself, and is told so, rather than its neighbours.
    """
    return 1.0 if share >= 1 else max(0.01, share - CONTEXT_BYTES / total_bytes)


def indexed(device: str) -> torch.device:
    """Return the device of that name with its number: "cuda" is the current one, and some of torch wants to know.

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
    """Cap what this process allocates on `device`; Ray itself only counts shares, it does not guard them."""
    if device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed(share, total) if share else 1.0, device)


def works(device: str) -> bool:
    """Return whether this process can still use the device: after most errors of a GPU no call to it succeeds."""
    if torch.device(device).type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
    except (RuntimeError, AssertionError):  # torch.AcceleratorError is one
        return False
    return True


def mps_runs(environment: Mapping[str, str]) -> bool:
    """Tell whether NVIDIA's MPS control daemon listens where CUDA, with such an `environment`, would look for it.

    With it, kernels of several processes run on a GPU at the same time; without it, the processes take turns.
    The socket that a killed daemon leaves behind is not taken for it.
    """
    control = Path(environment.get("CUDA_MPS_PIPE_DIRECTORY") or MPS_PIPES) / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(control))
        except OSError as error:
            # Linux refuses the kind of socket only where another kind has a listener, who hears nothing of it.
            return error.errno == errno.EPROTOTYPE
    return True


def sharing(mps: Mapping[str, bool]) -> str:
    """Say in one line how trials share GPUs, from whether MPS runs on each node that has one; "" if none has."""
    without = [node for node, runs in mps.items() if not runs]
    if not without:
        return "trials that share a GPU run on it at the same time: NVIDIA MPS runs" if mps else ""
    where = ""
    if len(mps) > 1:
        named = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        where = f" on {len(without)} of {len(mps)} nodes ({named})"
    return f"trials that share a GPU take turns on it: NVIDIA MPS does not run{where} (docs/gpus.md)"


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
MOST = 32 * 2**20  # bytes: glibc takes no larger threshold for memory that it maps for one tensor alone


def keep_freed_memory(keep: bool = True) -> None:
    """Let the C library keep what is freed (`keep`), or give it back as it does by itself.

    A step of ResNet-20 frees 200 MB. Without this it costs 20,000 page faults to have them again, a sixth of its time.
    Nothing happens where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(MMAP_THRESHOLD, MOST)
    mallopt(TRIM_THRESHOLD, 2**31 - 1 if keep else 2 * MOST)  # twice the other is what glibc itself arrives at
