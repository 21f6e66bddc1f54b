"""The pretended GPU's memory as CPU tensors see it."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pretended_gpu.library import library

_KEPT = 4096  # views of memory: making one anew costs more than finding it
_storages: OrderedDict[tuple[int, int], torch.UntypedStorage] = OrderedDict()
_lock = threading.Lock()


def _storage(address: int, size: int) -> torch.UntypedStorage:
    with _lock:
        found = _storages.get((address, size))
        if found is None:
            pages = (ctypes.c_uint8 * size).from_address(address)
            found = _storages[address, size] = torch.frombuffer(pages, dtype=torch.uint8).untyped_storage()
            if len(_storages) > _KEPT:
                _storages.popitem(last=False)
        return found


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a CPU tensor over the memory of one on the GPU. It does not keep that memory alive."""
    storage = tensor.untyped_storage()
    size = storage.nbytes()
    if size == 0:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    memory = _storage(storage.data_ptr(), size)
    return torch.empty(0, dtype=tensor.dtype).set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())


def like(tensor: Tensor, device: int) -> Tensor:
    """Return an empty tensor on the GPU with the shape, strides and dtype of `tensor`."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=torch.device("cuda", device))


def in_private_pool(tensor: Tensor) -> bool:
    """Return True if the tensor's memory is a graph's: between replays nobody relies on what it holds."""
    address = tensor.untyped_storage().data_ptr()
    return address == 0 or bool(library.pretended_in_private_pool(address))


def is_pinned(tensor: Tensor) -> bool:
    """Return True if the CPU tensor's memory is page-locked."""
    return bool(library.pretended_is_pinned(tensor.untyped_storage().data_ptr()))


def tensors_in(values: object) -> Iterator[Tensor]:
    """Yield the tensors of nested lists and tuples, in order."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


def mapped(values: object, change: Callable[[Tensor], object]) -> object:
    """Return nested lists and tuples with each tensor changed."""
    if isinstance(values, Tensor):
        return change(values)
    if type(values) in (list, tuple):
        return type(values)(mapped(value, change) for value in values)  # type: ignore[call-arg, attr-defined]
    return values
