"""One attempt at a trial, seen from its node: what it finds in the object store, and what it brings there."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from filelock import FileLock, Timeout

from trainables.record.event_log import FILE, DamagedRecordError, ended, forget
from trainables.record.object_store import CLAIM, Bucket, newest

PUSH_SECONDS = 3.0  # between two pushes of the record alone
BACKOFF_SECONDS = 60.0  # at most so long a store that is away is left alone
PATIENCE_SECONDS = 300.0  # for a store that is away when the trial is over


class SupersededError(RuntimeError):
    """Another attempt at this trial has begun after this one: what this one finds is no longer wanted."""


class Copy(Protocol):
    """Where a trial's folder is brought, while the trial runs."""

    def pull(self) -> None:
        """Begin the attempt with what the one before has left."""

    def push(self) -> None:
        """Bring all that has changed, now. A store that is away is tried again with the next push."""

    def push_soon(self) -> None:
        """The same, unless the last time is only moments ago."""

    def finish(self) -> None:
        """Bring the rest, and wait for a store that is away; then the node's copy can go.

        Raises:
            OSError: if the store stays away.
        """


class InPlace:
    """No copy: the folder is the storage."""

    def pull(self) -> None: ...

    def push(self) -> None: ...

    def push_soon(self) -> None: ...

    def finish(self) -> None: ...


class Mirror:
    """The copy of `folder`, which has the trial's fingerprint for a name, in an object store.

    All but `pull` may raise SupersededError.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self._bucket, self._folder, self._trial = Bucket(uri), folder, folder.name
        self._attempt = ""
        self._there: dict[str, tuple[int, int]] = {}  # what the store has: file -> (size, time of change)
        self._next = 0.0  # when the record is pushed again
        self._failures = 0

    def pull(self) -> None:
        """Claim the trial, and begin where the newest attempt with a record stands.

        First all of that is brought under our own number, its record last, and only then the old one is removed:
        whenever this process dies, one attempt is whole.
        """
        last = max((int(attempt.partition("-")[0]) for attempt in self._bucket.attempts(self._trial)), default=0)
        self._attempt = f"{last + 1:06d}-{uuid4().hex[:8]}"  # two that begin at once differ
        self._bucket.put(b"", self._trial, self._attempt, CLAIM)
        while True:
            try:
                begun = fetch(self._bucket, self._folder)
                break
            except FileNotFoundError:  # removed since it was listed: by the attempt before, not stopped yet
                continue
        if begun is not None:
            self._push(record_last=True)
            for attempt, files in self._bucket.attempts(self._trial).items():
                for name in files if attempt < self._attempt else ():
                    self._bucket.remove(self._trial, attempt, name)

    def push(self) -> None:
        """Bring all that has changed, now; a store that is away is tried again later."""
        try:
            self._push()
            self._failures = 0
            self._next = time.monotonic() + PUSH_SECONDS
        except OSError:
            self._failures += 1
            self._next = time.monotonic() + min(BACKOFF_SECONDS, PUSH_SECONDS * 2**self._failures)

    def push_soon(self) -> None:
        """Bring what has changed, unless the last time is only moments ago."""
        if time.monotonic() >= self._next:
            self.push()

    def finish(self) -> None:
        """Bring the rest, and free the node's disk."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = 1.0
        while True:
            try:
                self._push()
                break
            except OSError:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, BACKOFF_SECONDS)
        forget(self._folder)

    def _push(self, record_last: bool = False) -> None:
        if any(attempt > self._attempt for attempt in self._bucket.attempts(self._trial)):
            raise SupersededError("another process has taken it over")
        here = {}
        for file in self._folder.iterdir():
            if not file.name.startswith(".") and file.suffix not in (".lock", ".damaged"):
                stat = file.stat()
                here[file.name] = stat.st_size, stat.st_mtime_ns
        for name in sorted(here, key=(lambda name: name == FILE) if record_last else _order):
            if self._there.get(name) != here[name]:
                self._bucket.put(self._folder / name, self._trial, self._attempt, name)
                self._there[name] = here[name]
        for name in self._there.keys() - here.keys():
            self._bucket.remove(self._trial, self._attempt, name)
            del self._there[name]


def sweep_up(storage: Path) -> None:
    """Free a node's disk of what processes left there that were killed: their trials go on from what the store has."""
    for record in storage.glob(f"*/{FILE}"):
        with suppress(Timeout, OSError, DamagedRecordError), FileLock(record.parent / ".writer.lock", timeout=0):
            if ended(record.parent) is None:
                forget(record.parent)


def fetch(bucket: Bucket, folder: Path) -> str | None:
    """Make `folder` what the store has of the trial; returns the attempt that this was, None if there is none.

    Newest things first, checkpoint before record before files: so whatever is pushed meanwhile, no epoch is
    skipped whose metrics are not there.

    Raises:
        FileNotFoundError: if a file is removed meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forget(folder)
    attempts = bucket.attempts(folder.name)
    attempt = newest(attempts)
    if attempt is not None:
        for name in sorted(attempts[attempt].keys() - {CLAIM}, key=_order, reverse=True):
            bucket.get(folder / name, folder.name, attempt, name)
    return attempt


def _order(name: str) -> int:
    """Files before the record that names them, and the record before the checkpoint that skips what it holds."""
    return 2 if name.endswith(".pt") else 1 if name == FILE else 0
