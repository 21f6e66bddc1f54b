"""One driver at a time: in an output folder by a lock, in an experiment by a tag that the driver renews.

Two that ran the same space would each adopt the runs of the other, and record every epoch twice.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.live.interrupt import Stop
from orchestrator.tracking.experiment import Ledger
from search_spaces import SpaceError

TAG = "driver"  # of the experiment: "HOST:FOLDER BEAT"
BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0  # after which the driver that a tag names is gone; clocks are not compared


@contextmanager
def sole_in_folder(output: Path) -> Iterator[None]:
    """Inside, no other sweep can run on this output folder.

    Raises:
        SpaceError: if one does, or if the folder cannot be written.
    """
    lock = FileLock(output / ".sweep.lock")
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SpaceError(f"--output: another sweep is running on '{output}'; wait for it or give another") from None
    except OSError as error:
        raise SpaceError(f"--output: '{output}' cannot be written ({error.strerror})") from None
    with lock:
        lock.release()  # the context holds it a second time
        yield


class Sole(threading.Thread):
    """The claim of a driver, which is alone in its folder, to an experiment."""

    def __init__(self, output: Path, stop: Stop, say: Callable[[str], None]) -> None:
        """`stop` is asked to stop should another driver take over: one that took this one for dead."""
        super().__init__(name="sole", daemon=True)
        self._owner = f"{socket.gethostname()}:{output.resolve()}"
        self._stop_sweep, self._say = stop, say
        self._book: Ledger | None = None
        self._over = threading.Event()

    def __enter__(self) -> Sole:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the experiment free."""
        self._over.set()
        if self._book is not None and self.ident is not None:
            self.join(SILENT_SECONDS)
            with suppress(Exception):  # a server that is away: the next driver waits a moment
                if self._holder(self._book) == self._owner:  # nobody else's by now
                    self._book.client.delete_experiment_tag(self._book.experiment_id, TAG)

    def claim(self, book: Ledger) -> None:
        """Take the experiment of `book`. What our own folder's last driver left is ours: it is dead, we have its lock.

        Raises:
            SpaceError: if another driver has it.
        """
        seen = self._tag(book)
        holder = self._holder(book)
        if holder not in ("", self._owner):
            self._say(f"{holder} was the last to sweep here; looking for {SILENT_SECONDS:.0f} s whether it still does")
            deadline = time.monotonic() + SILENT_SECONDS
            while time.monotonic() < deadline and not self._over.wait(min(1.0, BEAT_SECONDS)):
                if self._holder(book) and self._tag(book) != seen:
                    raise SpaceError(
                        f"--experiment: another sweep writes to '{book.experiment}' ({self._holder(book)}); "
                        "wait for it or give another"
                    )
            book.read()
        if self._over.is_set():
            return
        self._renew(book)
        self._book = book
        self.start()

    def run(self) -> None:
        """Renew the tag until the sweep is over, or another driver has put its own there."""
        assert self._book is not None
        while not self._over.wait(BEAT_SECONDS):
            with suppress(Exception):  # a server that is away takes no other driver either
                if (holder := self._holder(self._book)) != self._owner:
                    self._stop_sweep.request(f"Another sweep has taken over '{self._book.experiment}' ({holder}).")
                    return
                self._renew(self._book)

    def _renew(self, book: Ledger) -> None:
        book.client.set_experiment_tag(book.experiment_id, TAG, f"{self._owner} {secrets.token_hex(4)}")

    def _holder(self, book: Ledger) -> str:
        return self._tag(book).rpartition(" ")[0]

    def _tag(self, book: Ledger) -> str:
        return str(book.client.get_experiment(book.experiment_id).tags.get(TAG, ""))
