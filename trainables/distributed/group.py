"""Team of a trial's workers: the rank of this worker, and how the workers communicate."""

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

LONG = timedelta(days=365)  # others wait while the first prunes or saves; if it dies, its connections end at once
START = timedelta(minutes=10)  # for a collective of the first step of an epoch or test: workers are not in step yet
STEP = timedelta(minutes=2)  # for a collective of later steps, in which workers wait for each other in every layer
NOTICE_SECONDS = 30.0  # until the process that started a worker knows that the worker ended
BROKEN = ("gloo", "pair closure", "NCCL")  # in the message of a RuntimeError about a connection


class LostError(RuntimeError):
    """Error: a worker of the trial is gone, through no fault of the trial."""


class WorkerError(RuntimeError):
    """Error with which a worker other than the first failed."""


class Other(Protocol):
    """Worker other than the first, as seen by the process that started it."""

    def ended(self, seconds: float) -> bool:
        """Return True if it has ended; wait for that for up to `seconds`."""
        ...

    def kill(self) -> None:
        """End it if it has not ended."""
        ...


@dataclass(frozen=True)
class Team:
    """Workers of a trial, as one of them sees them. A team of one does nothing and costs nothing."""

    rank: int = 0
    size: int = 1
    store: Store | None = None
    others: tuple[Other, ...] = ()  # only on the first worker
    _sent: list[int] = field(default_factory=lambda: [0])  # number of messages of the first worker so far

    @property
    def part(self) -> tuple[int, int]:
        """Return the index of this worker's part of each batch, and the number of parts."""
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

        They go through the store, so the others wait as long as the first takes to send them, without a time-out.
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
            LostError, WorkerError, torch.OutOfMemoryError: on the first worker, if another one ends meanwhile.
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
        """Make collectives fail after `timeout` from now on; an older torch cannot, and keeps `START`."""
        if self.size > 1 and hasattr(dist, "set_timeout"):
            dist.set_timeout(timeout)

    def order(self, make: Callable[[], dict[str, Any]]) -> None:
        """Send an order from the first worker to the others: tensors, numbers, texts, and dicts and lists of them."""
        if self.size == 1 or self.rank > 0:
            return
        content = BytesIO()
        torch.save(make(), content)
        self._announce(str(content.tell()))
        dist.broadcast(torch.frombuffer(content.getbuffer(), dtype=torch.uint8), 0)

    def orders(self, device: torch.device) -> Iterator[dict[str, Any]]:
        """Yield the first worker's orders to the others, with tensors on `device`. Ends only with this process."""
        while True:
            content = torch.empty(int(self._hear()), dtype=torch.uint8)
            dist.broadcast(content, 0)
            yield torch.load(BytesIO(content.numpy().tobytes()), map_location=device, weights_only=True)

    def blame(self, error: Exception) -> Exception:
        """Return the error that ended the trial: another worker's, if `error` may only be the connection to it.

        Raises:
            LostError: if another worker died, or no longer answers.
        """
        if self.size == 1 or not (type(error) is RuntimeError or isinstance(error, dist.DistError)):
            return error
        ended = [other.ended(NOTICE_SECONDS / len(self.others)) for other in self.others]
        if (fault := self._fault()) is not None:
            if isinstance(fault, LostError):
                raise fault from error
            return fault
        if _of_a_connection(error) and "imed out" in str(error):  # others that waited in vain have ended too
            silent = ", ".join(str(rank) for rank, over in enumerate(ended, 1) if not over)
            raise LostError(f"worker {silent or '?'} of {self.size} no longer answers") from error
        if any(ended) or _of_a_connection(error):
            raise LostError(f"{sum(ended) or 1} of {self.size} workers died") from error
        return error

    def failed(self, error: Exception, works: bool) -> None:
        """Tell the first worker the error of this one, unless that is only the end of another worker.

        `works`: whether this worker's device can still be used.
        """
        assert self.store is not None
        if not _of_a_connection(error):
            kind = "broken" if not works else "memory" if is_out_of_memory(error) else "failed"
            with suppress(RuntimeError):  # the first worker is gone
                self.store.set(f"fault/{self.rank}", f"{kind} {in_one_line(error)}")

    def _fault(self) -> RuntimeError | None:
        """Return the error that another worker reported; None if none did."""
        assert self.store is not None
        for rank in range(1, self.size):
            if self.store.check([f"fault/{rank}"]):
                kind, _, line = self.store.get(f"fault/{rank}").decode().partition(" ")
                told = f"worker {rank}: {line}"
                # A broken GPU is not the trial's fault, and a trial that ran out of memory may succeed with more.
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
    """Return True if `error` says only that another worker is gone or does not answer."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and any(word in str(error) for word in BROKEN)
