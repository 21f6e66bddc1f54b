"""Counter of the peak bytes of tensors alive in a computation; the number is the same on every machine."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that tracks the storages of all tensors made inside and of those that existed before.

    torch.distributed._tools.MemTracker counts the same numbers, but also registers hooks on parameters, which frozen
    and parametrized parameters do not allow.
    """

    def __init__(self, before: Iterable[Tensor]) -> None:
        """Start with the tensors `before`, which exist already: parameters, buffers, inputs."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = WeakIdKeyDictionary()
        self._alive: int = 0  # bytes
        self.peak: int = 0
        for tensor in before:
            self._track(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` and track what it returns."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._track(leaf)
        return made

    def _track(self, tensor: Tensor) -> None:
        storage: UntypedStorage = tensor.untyped_storage()
        if storage not in self._seen:
            size = storage.nbytes()
            self._seen[storage] = weakref.finalize(storage, self._free, size)
            self._alive += size
            self.peak = max(self.peak, self._alive)

    def _free(self, size: int) -> None:
        self._alive -= size
