"""Trials with several workers on this machine, without Ray: the others are processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnProcess

from search_spaces import Trial
from trainables.place import Place
from trainables.run import Outcome, run
from trainables.team.joining import LOOPBACK, Seat, leading, take_part
from trainables.team.team import LostError

ATTEMPTS = 4  # of one trial whose workers die


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


def run_together(trial: Trial, place: Place, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """`trainables.run.run` with the workers that `place` asks for; if one dies, again from the last checkpoint."""
    for _ in range(ATTEMPTS):
        try:
            with with_workers(place) as led:
                return run(trial, led, stop)
        except LostError as error:
            lost = str(error)
    return Outcome("failed", f"{lost}, {ATTEMPTS} times")


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
