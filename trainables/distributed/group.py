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

from pruners.errors import in_one_line, is_out_of_memory

LONG = timedelta(days=365)  # others wait while the first prunes or saves; should it die, its connections end at once
START = timedelta(
    minutes=10
)  # for a collective of the first step of an epoch, or of a test: workers are not in step yet
STEP = timedelta(minutes=2)  # for one of later steps, in which workers wait for each other in every layer
NOTICE_SECONDS = 30.0  # until an end that cut a connection is known to who started that worker
BROKEN = ("gloo", "pair closure", "NCCL")  # in the words of a RuntimeError that is about a connection


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
    _sent: list[int] = field(default_factory=lambda: [0])  # what the first has said so far

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch is this one's, and of how many."""
        return self.rank, self.size

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum `tensor` over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, row: Tensor) -> Tensor:
        """Return the `row` [N] of every worker as [workers, N]."""
        if self.size == 1:
            return row[None]
        rows = row.new_empty(self.size * len(row))
        dist.all_gather_into_tensor(rows, row)
        return rows.view(self.size, -1)

    def told(self, *numbers: int) -> tuple[int, ...]:
        """Return the first worker's `numbers` on all workers.

        They go through the store: the others wait as long as it takes the first to say them, without a time-out.
        """
        if self.size == 1:
            return numbers
        if self.rank == 0:
            self._announce(" ".join(str(int(number)) for number in numbers))
            return numbers
        return tuple(map(int, self._hear().split()))

    def assemble(self) -> None:
        """Wait until every worker is here, without a time-out: one may have to decode the dataset first.

        Raises:
            LostError, WorkerError: on the first, if another worker ends meanwhile.
        """
        if self.size == 1:
            return
        assert self.store is not None
        if self.rank > 0:
            self.store.set(f"ready/{self._sent[0]}/{self.rank}", "yes")
        for rank, other in enumerate(self.others, 1):
            while not self.store.check([f"ready/{self._sent[0]}/{rank}"]):
                if other.ended(0.2):
                    raise self._fault() or LostError(f"worker {rank} of {self.size} died")
        self.told()

    def allow(self, timeout: timedelta) -> None:
        """Let collectives from now on fail after `timeout`; an older torch, which cannot, keeps to `START`."""
        if self.size > 1 and hasattr(dist, "set_timeout"):
            dist.set_timeout(timeout)

    def order(self, make: Callable[[], dict[str, Any]]) -> None:
        """The first tells the others what to do: tensors, numbers, texts, and dicts and lists of them."""
        if self.size == 1 or self.rank > 0:
            return
        content = BytesIO()
        torch.save(make(), content)
        self._announce(str(content.tell()))
        dist.broadcast(torch.frombuffer(content.getbuffer(), dtype=torch.uint8), 0)

    def orders(self, device: torch.device) -> Iterator[dict[str, Any]]:
        """What the first wants of the others, tensors on `device`, until it needs them no more."""
        while True:
            content = torch.empty(int(self._hear()), dtype=torch.uint8)
            dist.broadcast(content, 0)
            yield torch.load(BytesIO(content.numpy().tobytes()), map_location=device, weights_only=True)

    def blame(self, error: Exception) -> Exception:
        """Return the error of the trial, where `error` may be no more than a connection that another worker has left.

        Raises:
            LostError: if another worker died, or answers no more.
        """
        if self.size == 1 or not (type(error) is RuntimeError or isinstance(error, dist.DistError)):
            return error
        ended = [other.ended(NOTICE_SECONDS / len(self.others)) for other in self.others]
        if (fault := self._fault()) is not None:
            if isinstance(fault, LostError):
                raise fault from error
            return fault
        if _of_a_connection(error) and "imed out" in str(error):  # who waited in vain, as this one did, has ended too
            silent = ", ".join(str(rank) for rank, over in enumerate(ended, 1) if not over)
            raise LostError(f"worker {silent or '?'} of {self.size} answers no more") from error
        if any(ended) or _of_a_connection(error):
            raise LostError(f"{sum(ended) or 1} of {self.size} workers died") from error
        return error

    def failed(self, error: Exception, works: bool) -> None:
        """Tell the first, as one of the others, what this one failed by, unless that is another's end.

        `works`: whether this one's device can still be used.
        """
        assert self.store is not None
        if not _of_a_connection(error):
            kind = "broken" if not works else "memory" if is_out_of_memory(error) else "failed"
            with suppress(RuntimeError):  # the first has gone
                self.store.set(f"fault/{self.rank}", f"{kind} {in_one_line(error)}")

    def _fault(self) -> RuntimeError | None:
        """Return what another worker said that it failed by; None if none did."""
        assert self.store is not None
        for rank in range(1, self.size):
            if self.store.check([f"fault/{rank}"]):
                kind, _, line = self.store.get(f"fault/{rank}").decode().partition(" ")
                told = f"worker {rank}: {line}"
                # A broken GPU is no fault of the trial, and too little memory may be mended by more.
                of: dict[str, type[RuntimeError]] = {"broken": LostError, "memory": torch.OutOfMemoryError}
                return of.get(kind, WorkerError)(told)
        return None

    def _announce(self, words: str) -> None:
        assert self.store is not None
        self.store.set(self._next(), words)

    def _hear(self) -> str:
        assert self.store is not None
        key = self._next()
        self.store.wait([key], LONG)
        return str(self.store.get(key).decode())

    def _next(self) -> str:
        self._sent[0] += 1
        return f"said/{self._sent[0]}"


ALONE = Team()


def _of_a_connection(error: Exception) -> bool:
    """Return True if `error` says no more than that another worker is gone, or does not answer."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and any(word in str(error) for word in BROKEN)
