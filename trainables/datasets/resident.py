"""Images on a GPU: one copy for all trials of a process, from which batches are made without the host."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.datasets.spec import DatasetSpec

SHARE = 0.25  # of the GPU memory that this process may use; larger datasets stay in the host's memory


class Key(NamedTuple):
    """Identity of a set of images, in any trial. The digest distinguishes folders whose images have changed."""

    name: str
    digest: str
    half: str
    shape: torch.Size


_resident: dict[tuple[Key, torch.device], Tensor] = {}


def resident(images: Tensor, key: Key, device: torch.device | str) -> Tensor:
    """Return `images` on `device` if that is a GPU with room for them; else return them unchanged."""
    if torch.device(device).type != "cuda":
        return images
    device = with_index(device)
    known = _resident.get((key, device))
    if known is not None:
        return known
    if _bytes_on(device) + images.nbytes > _room(device):
        return images
    try:
        copy = images.contiguous().to(device)  # complete when this returns, so any stream may read it
    except torch.OutOfMemoryError:
        return images
    _resident[key, device] = copy
    return copy


def release_unused(keep: DatasetSpec | None) -> None:
    """Free GPU memory that earlier trials of this process left: models, and images of datasets other than `keep`.

    Images of `keep` are freed too if they no longer fit this process's share of the GPU. Does nothing on CPUs.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return
    for key, device in list(_resident):
        used = keep is not None and (key.name, key.digest) == (keep.name, keep.digest)
        if not used or _bytes_on(device) > _room(device):
            del _resident[key, device]
    gc.collect()  # models, optimizers and graphs have reference cycles, which only this frees
    torch.cuda.empty_cache()


def at_once(batches: Sequence[Tensor], device: torch.device | str) -> tuple[Tensor, ...]:
    """Return `batches` on `device`, moved by one copy."""
    if not batches:
        return ()
    return torch.split(to_device(torch.cat(list(batches)), device), [len(batch) for batch in batches])


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return `tensor` on `device`; to a GPU through pinned memory, or the host would wait for all work there."""
    if tensor.is_cuda or torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the allocator keeps pinned memory until it was read


def with_index(device: torch.device | str) -> torch.device:
    """Return the GPU `device` with its index, that of the current GPU if none is given."""
    device = torch.device(device)
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _bytes_on(device: torch.device) -> int:
    return sum(tensor.nbytes for (_, where), tensor in _resident.items() if where == device)


def _room(device: torch.device) -> float:
    total = torch.cuda.get_device_properties(device).total_memory
    return SHARE * total * torch.cuda.get_per_process_memory_fraction(device)
