"""One worker's place among those of its trial, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]

LONG = timedelta(days=365)  # others wait while the first prunes; should it die, its connections end at once
NOTICE_SECONDS = 30.0  # until an end that cut a connection is known to who started that worker


class LostError(RuntimeError):
    """A worker of the trial is gone, for no fault of the trial's."""


class WorkerError(RuntimeError):
    """What a worker other than the first failed by."""


class Other(Protocol):
    """A worker other than the first, as who started it sees it."""

    def ended(self, seconds: float) -> bool:
        """Whether it is over, at the latest `seconds` from now."""
        ...

    def kill(self) -> None:
        """End it, if it has not ended."""
        ...


@dataclass(frozen=True)
class Team:
    """What one worker knows of its trial's workers. A team of one does nothing and costs nothing."""

    rank: int = 0
    size: int = 1
    store: Store | None = None
    others: tuple[Other, ...] = ()  # for the first one alone
    _sent: list[int] = field(default_factory=lambda: [0])  # orders so far

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch is this one's, and of how many."""
        return self.rank, self.size

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agreed(self, decision: bool) -> bool:
        """What the first worker decides, whatever the others would."""
        if self.size == 1:
            return decision
        told = torch.tensor(int(decision))
        dist.broadcast(told, 0)
        return bool(told)

    def order(self, make: Callable[[], dict[str, Any]]) -> None:
        """The first tells the others what to do: tensors, numbers, texts, and dicts and lists of them."""
        if self.size == 1 or self.rank > 0:
            return
        content = BytesIO()
        torch.save(make(), content)
        self._announce(content.tell())
        dist.broadcast(torch.frombuffer(content.getbuffer(), dtype=torch.uint8), 0)

    def orders(self, device: torch.device) -> Iterator[dict[str, Any]]:
        """What the first wants of the others, tensors on `device`, until it needs them no more."""
        assert self.store is not None
        while True:
            key = self._next()
            self.store.wait([key], LONG)
            content = torch.empty(int(self.store.get(key)), dtype=torch.uint8)
            dist.broadcast(content, 0)
            yield torch.load(BytesIO(content.numpy().tobytes()), map_location=device, weights_only=True)

    def blame(self, error: Exception) -> Exception:
        """The error of the trial where `error` may be no more than a connection that another worker has left.

        Raises:
            LostError: if that worker died.
        """
        if self.size == 1 or not (type(error) is RuntimeError or isinstance(error, dist.DistError)):
            return error
        assert self.store is not None
        over = [other for other in self.others if other.ended(NOTICE_SECONDS / len(self.others))]
        if not over:
            return error
        for rank in range(1, self.size):
            if self.store.check([_fault(rank)]):
                return WorkerError(f"worker {rank}: {self.store.get(_fault(rank)).decode()}")
        raise LostError(f"{len(over)} of {self.size} workers died") from error

    def failed(self, line: str) -> None:
        """One that is not the first tells what it failed by."""
        assert self.store is not None
        with suppress(RuntimeError):  # the first has gone
            self.store.set(_fault(self.rank), line)

    def _announce(self, size: int) -> None:
        assert self.store is not None
        self.store.set(self._next(), str(size))

    def _next(self) -> str:
        self._sent[0] += 1
        return f"order/{self._sent[0]}"


ALONE = Team()


def _fault(rank: int) -> str:
    return f"fault/{rank}"
