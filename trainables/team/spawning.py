"""Trials with several workers on this machine, without Ray: the others are processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess

from trainables.place import Place
from trainables.team.joining import LOOPBACK, Seat, leading, take_part


@dataclass(frozen=True)
class Spawned:
    """A worker in a process of its own."""

    process: SpawnProcess

    def ended(self, seconds: float) -> bool:
        """See `Other.ended`."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def kill(self) -> None:
        """See `Other.kill`."""
        self.process.kill()
        self.process.join()


@contextmanager
def with_workers(place: Place) -> Iterator[Place]:
    """Inside, the place has the workers that it asks for, each with a GPU of its own if it is on GPUs."""
    if place.workers == 1:
        yield place
        return
    context = multiprocessing.get_context("spawn")

    def launch(seat: Seat) -> Spawned:
        process = context.Process(target=_work, args=(_of(place, seat.rank), seat))
        process.start()
        return Spawned(process)

    with leading(_of(place, 0), LOOPBACK, launch) as led:
        yield led


def _of(place: Place, rank: int) -> Place:
    return replace(place, device=f"cuda:{rank}") if place.device == "cuda" else place


def _work(place: Place, seat: Seat) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; when to stop the first one says
    try:
        take_part(place, seat)
    except Exception:  # noqa: BLE001 - the first one knows, and says it where somebody reads
        sys.exit(1)
