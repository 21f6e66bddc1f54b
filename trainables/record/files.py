"""Locks that are files: of all processes of a machine one holds such a file at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


@contextmanager
def held(file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold `file`, whose folder exists: inside, nobody else does.

    Raises:
        filelock.Timeout: if it is not to be had within so many `seconds`; below 0 there is no end to the waiting.
    """
    with FileLock(file).acquire(timeout=seconds):
        yield
