"""Sync one attempt at a trial between its node and the object store: what it starts from, and what it uploads."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from filelock import FileLock, Timeout

from trainables.record.event_log import FILE, DamagedRecordError, ended, remove_record
from trainables.record.object_store import CLAIM, Bucket, newest

PUSH_SECONDS = 3.0  # between two pushes by `push_soon`
BACKOFF_SECONDS = 60.0  # longest pause between two tries while the store is unavailable
PATIENCE_SECONDS = 300.0  # how long the end of a trial waits for an unavailable store


class SupersededError(RuntimeError):
    """Error: another attempt at this trial began after this one, so the results of this one are not wanted."""


class Copy(Protocol):
    """Copy of a trial's folder that is kept up to date while the trial runs."""

    def pull(self) -> None:
        """Begin the attempt with the files that the previous one left."""

    def push(self) -> None:
        """Upload all changes now. If the store is unavailable, the next push tries again."""

    def push_soon(self) -> None:
        """Upload all changes, unless the last push was only moments ago."""

    def finish(self) -> None:
        """Upload the rest, waiting for an unavailable store; then the node's copy can be removed.

        Raises:
            OSError: if the store stays unavailable.
        """


class InPlace:
    """No copy: the trial's folder is the storage itself."""

    def pull(self) -> None: ...

    def push(self) -> None: ...

    def push_soon(self) -> None: ...

    def finish(self) -> None: ...


class Mirror:
    """Copy of `folder`, whose name is the trial's fingerprint, in an object store.

    All methods may raise SupersededError.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self._bucket, self._folder, self._trial = Bucket(uri), folder, folder.name
        self._attempt = ""
        self._there: dict[str, tuple[int, int]] = {}  # what the store has: file -> (size, time of change)
        self._next = 0.0  # when `push_soon` may push again
        self._failures = 0

    def pull(self) -> None:
        """Claim the trial, and begin with the files of the newest attempt that has a record.

        First they are all copied under this attempt's number, the record last; only then is the old attempt removed. So
        one attempt is complete whenever this process dies.
        """
        last = max((int(attempt.partition("-")[0]) for attempt in self._bucket.attempts(self._trial)), default=0)
        self._attempt = f"{last + 1:06d}-{uuid4().hex[:8]}"  # two attempts that begin at once differ
        self._bucket.put(b"", self._trial, self._attempt, CLAIM)
        while True:
            try:
                begun = fetch(self._bucket, self._folder)
                break
            except FileNotFoundError:  # removed after the listing by the previous attempt, which has not stopped yet
                continue
        if begun is not None:
            self._push(record_last=True)
            for attempt, files in self._bucket.attempts(self._trial).items():
                for name in files if attempt < self._attempt else ():
                    self._bucket.remove(self._trial, attempt, name)

    def push(self) -> None:
        """Upload all changes now; if the store is unavailable, a later push tries again."""
        try:
            self._push()
            self._failures = 0
            self._next = time.monotonic() + PUSH_SECONDS
        except OSError:
            self._failures += 1
            self._next = time.monotonic() + min(BACKOFF_SECONDS, PUSH_SECONDS * 2**self._failures)

    def push_soon(self) -> None:
        """Upload all changes, unless the last push was only moments ago."""
        if time.monotonic() >= self._next:
            self.push()

    def finish(self) -> None:
        """Upload the rest, and free the node's disk. Raise the store's OSError if it stays unavailable."""
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
        remove_record(self._folder)

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
    """Remove the files that killed processes left on this node's disk: their trials go on from the store's copy."""
    for record in storage.glob(f"*/{FILE}"):
        with suppress(Timeout, OSError, DamagedRecordError), FileLock(record.parent / ".writer.lock", timeout=0):
            if ended(record.parent) is None:
                remove_record(record.parent)


def fetch(bucket: Bucket, folder: Path) -> str | None:
    """Make `folder` a copy of the trial in the store; return the attempt that it came from, None if there is none.

    The checkpoint is fetched first, then the record, then other files. So whatever is pushed meanwhile, the checkpoint
    skips no epoch whose metrics are missing.

    Raises:
        FileNotFoundError: if a file is removed meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_record(folder)
    attempts = bucket.attempts(folder.name)
    attempt = newest(attempts)
    if attempt is not None:
        for name in sorted(attempts[attempt].keys() - {CLAIM}, key=_order, reverse=True):
            bucket.get(folder / name, folder.name, attempt, name)
    return attempt


def _order(name: str) -> int:
    """Return the order of upload: files, then the record that names them, then the checkpoint that skips its epochs."""
    return 2 if name.endswith(".pt") else 1 if name == FILE else 0
