"""Several trials at once in one process, a thread for each: small networks leave most of a GPU idle.

A thread is all that they share out: each trial is run as if it were alone, and ends alone. What must not happen at
once in one process waits its turn (pruners/turns.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from pruners import turns

T = TypeVar("T")
R = TypeVar("R")


def together(lanes: int, take: Callable[[], T | None], do: Callable[[T], R], ended: Callable[[T, R], None]) -> None:
    """Do what `take` gives, `lanes` at a time, until nothing is under way and it gives nothing more.

    `take` is asked whenever there is room, and `ended` told what came of it; both by the thread that calls this, and
    never at once. With one lane that thread also does it.
    """
    if lanes == 1:
        while (item := take()) is not None:
            ended(item, do(item))
        return
    with ThreadPoolExecutor(lanes, thread_name_prefix="trial") as pool:
        running: dict[Future[R], T] = {}
        while True:
            while len(running) < lanes and (item := take()) is not None:
                running[pool.submit(_beside_others, do, item)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ended(running.pop(future), future.result())


def _beside_others(do: Callable[[T], R], item: T) -> R:
    with turns.at_work():
        return do(item)
