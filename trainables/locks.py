"""Locks that are files: of all threads of all processes of a machine one holds such a file at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from pruners import turns


@contextmanager
def held(file: Path, seconds: float = -1) -> Iterator[None]:
    """Inside, nobody else holds `file`, whose folder exists. Who waits for it is in no other thread's way.

    Raises:
        filelock.Timeout: if it is not to be had within so many `seconds`; below 0 there is no end to the waiting.
    """
    lock = FileLock(file)
    with turns.away():  # who holds it may be a thread of this process, and want to be alone
        lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()
