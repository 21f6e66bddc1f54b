"""Locks that are files: of all processes of a machine one holds such a file at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock
from safetensors import SafetensorError


@contextmanager
def held(file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold `file`, whose folder exists: inside, nobody else does.

    Raises:
        filelock.Timeout: if it is not to be had within so many `seconds`; below 0 there is no end to the waiting.
    """
    with FileLock(file).acquire(timeout=seconds):
        yield


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, make it durable, and give it the name `path`.

    Raises:
        OSError: if there is no place for it; then nothing is left behind, and what `path` held is as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")  # a process id is not unique across nodes
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # a rename may reach the disk before the data it names
        temporary.replace(path)
    except SafetensorError as error:  # a full disk, in words of its own
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
