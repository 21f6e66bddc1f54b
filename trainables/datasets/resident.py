"""Images on a GPU: one copy for all trials of a process, from which batches are made without the host."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

SHARE = 0.25  # of a GPU's memory that images may take; what would be more stays where it is

_LOCK = threading.Lock()
_THERE: dict[tuple[Hashable, torch.device], Tensor] = {}  # kept until the process ends: other trials read them


def resident(images: Tensor, key: Hashable, device: torch.device | str) -> Tensor:
    """`images` on `device`, if that is a GPU with room for them. `key` says which they are, in any trial."""
    device = torch.device(device)
    if device.type != "cuda":
        return images
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    with _LOCK:
        known = _THERE.get((key, device))
        if known is not None:
            return known
        taken = sum(tensor.nbytes for (_, where), tensor in _THERE.items() if where == device)
        total = torch.cuda.get_device_properties(device).total_memory
        if taken + images.nbytes > SHARE * total * torch.cuda.get_per_process_memory_fraction(device):
            return images
        try:
            copy = images.contiguous().to(device)  # complete when this returns, so that all streams may read it
        except torch.OutOfMemoryError:
            return images
        _THERE[key, device] = copy
        return copy


def at_once(batches: Sequence[Tensor], device: torch.device | str) -> tuple[Tensor, ...]:
    """`batches` on `device`, by one copy: each by itself would wait for all that the GPU has yet to do."""
    if not batches:
        return ()
    return torch.split(torch.cat(list(batches)).to(device), [len(batch) for batch in batches])
