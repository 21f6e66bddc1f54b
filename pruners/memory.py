"""Scoring in less memory: the same scores from smaller passes, or with activations in the host's memory."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from pruners.errors import is_out_of_memory
from pruners.host_memory import saved_in_host_memory

T = TypeVar("T")
WHOLE = "whole batches"


@dataclass
class Memory:
    """State of a scoring that must fit into the GPU's memory; later iterations use what earlier ones learned."""

    images: int = 0  # inputs per forward pass, where splitting changes no score; 0: whole batches
    on_host: bool = False  # whether activations are kept in the host's memory
    must_split: bool = False  # whether `images` was set because memory ran out
    largest: int = 0  # inputs of the largest pass so far that may be splittable
    split: bool = False  # whether a batch was split
    ran: bool = False  # whether anything was computed
    separable: dict[str, bool] = field(default_factory=dict)  # mode -> whether outputs depend on their own input alone

    @property
    def how(self) -> str:
        """Return how scores were computed, "in micro-batches of 64, activations in host memory"; "" if none were."""
        if not self.ran:
            return ""
        ways = [f"in micro-batches of {self.images}"] * self.split + ["activations in host memory"] * self.on_host
        return ", ".join(ways) or WHOLE

    def run(self, compute: Callable[[], T], restore: Callable[[], None]) -> T:
        """Return what `compute` returns; run it again in less memory each time the GPU's memory does not suffice.

        First the inputs per pass are halved, down to one, as far as the score allows it; then activations are kept in
        the host's memory. `restore` is called before each further run.

        Raises:
            torch.OutOfMemoryError: if nothing helps; a larger share of the GPU may.
        """
        last: RuntimeError | None = None
        while True:
            self.largest, self.split, self.ran = 0, False, True
            try:
                with _current_set(self), saved_in_host_memory() if self.on_host else nullcontext():
                    return compute()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    if last is None or not self.on_host:
                        raise
                    # torch.func's transforms, which a user's own score may use, do not allow saved tensors to be moved.
                    raise torch.OutOfMemoryError(f"{last} (and activations cannot be moved: {error})") from error
                if not self._take_less():
                    raise
                last = error.with_traceback(None)  # the frames of a traceback hold tensors
                last.__context__ = None
            gc.collect()  # before the cache is emptied: frees tensors in reference cycles
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()
            restore()

    def _take_less(self) -> bool:
        """Ask for less memory in the next run; return False if that is not possible."""
        if self.on_host:
            return False
        if self.largest > 1:
            self.images, self.must_split = self.largest // 2, True
        else:
            self.on_host, self.must_split = True, False
            if not self.split:
                self.images = 0
        return True


_CURRENT: ContextVar[Memory | None] = ContextVar("memory", default=None)


def current() -> Memory | None:
    """Return the `Memory` of the scoring that is running; None outside of `Memory.run`."""
    return _CURRENT.get()


@contextmanager
def _current_set(memory: Memory) -> Iterator[None]:
    token = _CURRENT.set(memory)
    try:
        yield
    finally:
        _CURRENT.reset(token)
