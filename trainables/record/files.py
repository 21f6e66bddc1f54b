"""Lock files, which one process holds at a time, atomic writes, and files of other nodes that appear late."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock
from safetensors import SafetensorError

LATE_SECONDS = 60.0  # how late a shared folder may show what another node has written: NFS caches names for so long


def appears(seen: Callable[[], bool], seconds: float | None = None) -> bool:
    """Return True as soon as `seen` does, False after `seconds` (`LATE_SECONDS`).

    Ask only for what another node has surely written.
    """
    deadline = time.monotonic() + (LATE_SECONDS if seconds is None else seconds)
    while not (there := seen()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return there


@contextmanager
def held(file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold the lock `file`, whose folder exists: inside the context no other process holds it.

    Raises:
        filelock.Timeout: if the lock is not free within `seconds`; below 0 it waits without end.
    """
    with FileLock(file).acquire(timeout=seconds):
        yield


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Let errors of the disk inside the block be an OSError with number and `path`, whichever library reports them."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # numpy says no more of a full disk
            number = errno.ENOSPC
        if (numbered := re.search(r"os error (\d+)", str(error))) is not None:  # safetensors
            number = int(numbered[1])
        if number is None or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, make it durable, and rename it to `path`.

    Raises:
        OSError: if the disk has no space for it; then nothing is left behind, and `path` keeps its content.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")  # a process id is not unique across nodes
    try:
        with errors_name(path):
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # a rename may reach the disk before the data
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_database(path: Path, create: Callable[[str], object]) -> None:
    """Let `create` write a new SQLite database, given its address, and give it the name `path` when it is complete.

    An existing one is left as it is. Creating one takes thousands of writes: a process that is killed meanwhile would
    leave a database of which nobody can tell what it lacks.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with held(lock):
        if path.exists():  # another process was faster
            return
        for left in path.parent.glob(f".{path.name}.new-*"):  # by a process that was killed
            left.unlink()
        new = path.with_name(f".{path.name}.new-{uuid4().hex[:8]}")
        create(f"sqlite:///{new}")
        new.replace(path)
        lock.unlink()  # those who wait for it find the database
