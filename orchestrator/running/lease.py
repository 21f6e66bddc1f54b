"""Lease that allows one driver at a time: a file lock per output folder, a renewed tag per experiment.

Two drivers on the same space would each take over the runs of the other, and record every epoch twice.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock, lockf
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from search_spaces import SpaceError

if TYPE_CHECKING:
    from orchestrator.live.interrupt import Stop
    from orchestrator.tracking.experiment import ExperimentRuns

TAG = "driver"  # tag of the experiment: "HOST:FOLDER BEAT", where BEAT is random and renewed
BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0  # a driver whose tag does not change for this long is gone; clocks are not compared
LEAVING = "leaving-"  # begins the BEAT of a driver that was asked to end: it may be killed at any moment
LEAVING_BEAT_SECONDS, LEAVING_SILENT_SECONDS = 1.0, 5.0  # of such a driver


class OccupiedError(SpaceError):
    """Error: another sweep runs on the folder, or writes to the experiment."""


@contextmanager
def sole_in_folder(output: Path) -> Iterator[None]:
    """Lock the output folder inside the block, so that no other sweep can run on it.

    Raises:
        SpaceError: if another sweep runs on it (OccupiedError), or if the folder cannot be written or locked.
    """
    lock = FileLock(output / ".sweep.lock")
    missing = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        _require_locks(output, missing)
        lock.acquire(timeout=0)
    except Timeout:
        raise OccupiedError(
            f"--output: another sweep is running on '{output}'; wait for it or give another folder"
        ) from None
    except OSError as error:
        raise SpaceError(f"--output: '{output}' cannot be written ({error.strerror})") from None
    with lock:
        lock.release()  # acquired twice: above and by the context
        yield


def _require_locks(output: Path, made: Sequence[Path]) -> None:
    """Raise SpaceError if files in `output` cannot be locked; remove the folders that were `made` for it, then."""
    try:
        with TemporaryFile(dir=output) as file:
            lockf(file, LOCK_EX | LOCK_NB)  # as SQLite locks its file
            lockf(file, LOCK_UN)  # NFS has one lock for both
            flock(file, LOCK_EX | LOCK_NB)  # as we lock the folder and trials
    except OSError as error:
        if error.errno not in (ENOLCK, ENOSYS, EOPNOTSUPP):
            raise
        for folder in made:
            folder.rmdir()
        raise SpaceError(
            f"--output: files in '{output}' cannot be locked ({error.strerror}): its file system is mounted without "
            "locks; give an --output on another one"
        ) from None


class Lease(threading.Thread):
    """Lease of an experiment, held by a driver that has locked its output folder; the thread renews the tag."""

    def __init__(self, output: Path, stop: Stop, say: Callable[[str], None]) -> None:
        """Request `stop` if another driver takes over because it thinks that this one is dead; `say` shows a line."""
        super().__init__(name="sole", daemon=True)
        self._owner = f"{socket.gethostname()}:{output.resolve()}"
        self._stop_sweep, self._say = stop, say
        self._book: ExperimentRuns | None = None
        self._over = threading.Event()
        self._leaving = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the experiment."""
        self._over.set()
        if self._book is not None and self.ident is not None:
            self.join(SILENT_SECONDS)
            with suppress(Exception):  # if the server does not answer, the next driver waits `SILENT_SECONDS`
                if self._holder(self._book) == self._owner:  # no other driver has taken over
                    self._book.client.delete_experiment_tag(self._book.experiment_id, TAG)

    def claim(self, book: ExperimentRuns) -> None:
        """Take the lease of the experiment of `book`.

        A tag left by an earlier driver of our own folder is taken over: we have its lock, so that driver is dead.

        Raises:
            OccupiedError: if another driver holds the lease.
        """
        seen = self._tag(book)
        holder = self._holder(book)
        if holder not in ("", self._owner):
            silent = LEAVING_SILENT_SECONDS if f" {LEAVING}" in seen else SILENT_SECONDS
            self._say(f"the last sweep here was by {holder}; waiting {silent:.0f} s to see whether it still runs")
            deadline = time.monotonic() + silent
            while time.monotonic() < deadline and not self._over.wait(min(1.0, BEAT_SECONDS)):
                if self._holder(book) and self._tag(book) != seen:
                    raise OccupiedError(
                        f"--experiment: another sweep writes to '{book.experiment}' ({self._holder(book)}); "
                        "wait for it or give another name"
                    )
            book.read()
        if self._over.is_set():
            return
        self._renew(book)
        self._book = book
        self.start()

    def leave(self) -> None:
        """Mark in the tag that this driver is ending, so that its successor need not wait long if it is killed."""
        self._leaving = True
        if self._book is not None:
            self._renew(self._book)

    def run(self) -> None:
        """Renew the tag until the sweep is over or another driver has replaced it."""
        assert self._book is not None
        renewed = time.monotonic()
        while not self._over.wait(min(LEAVING_BEAT_SECONDS, BEAT_SECONDS)):
            if not self._leaving and time.monotonic() - renewed < BEAT_SECONDS:
                continue
            renewed = time.monotonic()
            with suppress(Exception):  # if the server does not answer, no other driver can take over either
                if (holder := self._holder(self._book)) != self._owner:
                    self._stop_sweep.request(f"Another sweep has taken over '{self._book.experiment}' ({holder}).")
                    return
                self._renew(self._book)

    def _renew(self, book: ExperimentRuns) -> None:
        beat = f"{LEAVING if self._leaving else ''}{secrets.token_hex(4)}"
        book.client.set_experiment_tag(book.experiment_id, TAG, f"{self._owner} {beat}")

    def _holder(self, book: ExperimentRuns) -> str:
        return self._tag(book).rpartition(" ")[0]

    def _tag(self, book: ExperimentRuns) -> str:
        return str(book.client.get_experiment(book.experiment_id).tags.get(TAG, ""))
