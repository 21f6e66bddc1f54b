"""A trial's share of a GPU: never more memory than that, whoever else is on it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

CONTEXT_BYTES = 600 * 2**20  # of a process on a GPU, outside of what torch allocates: CUDA context, cuBLAS, cuDNN


def allowed(share: float, total_bytes: int) -> float:
    """The fraction of a GPU's memory that torch may allocate so that the whole process keeps to its `share`.

    A trial that has the GPU to itself may take it all. At least 1 % is left for torch, however small the share:
    the trial then runs out of memory by itself, and is told so, rather than its neighbours.
    """
    return 1.0 if share >= 1 else max(0.01, share - CONTEXT_BYTES / total_bytes)


def keep_to(share: float, device: torch.device) -> None:
    """Cap what this process allocates on `device`; Ray itself only counts shares, it does not guard them."""
    if device.type != "cuda" or not share:
        return
    torch.cuda.empty_cache()  # of the trial that this process ran before
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed(share, total), device)


def own_stream(device: str) -> AbstractContextManager[object]:
    """Inside, the GPU has a queue of its own for this thread: trials do not wait for each other there."""
    if torch.device(device).type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
