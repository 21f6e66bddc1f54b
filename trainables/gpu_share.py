"""A trial's share of a GPU: never more memory than that, whoever else is on it; and whether the GPU still works."""

from __future__ import annotations

import gc

import torch

CONTEXT_BYTES = 600 * 2**20  # of a process on a GPU, outside of what torch allocates: CUDA context, cuBLAS, cuDNN


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
    gc.collect()  # of the trial that this process ran before: models hold each other in cycles
    torch.cuda.empty_cache()
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
