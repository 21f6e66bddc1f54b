"""The trials' folders as the driver reads them, wherever they are stored."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from trainables.record.event_log import FILE, forget, must_restart, read
from trainables.record.mlflow import MARK
from trainables.record.object_store import CLAIM, Bucket, StoredAttempts, newest
from trainables.shared.pretraining import WEIGHTS


class Records:
    """On a path that trials and driver share: there is nothing to bring."""

    poll_seconds = 0.5

    def __init__(self, folder: Path) -> None:
        """`folder` has one folder per fingerprint."""
        self.folder = folder

    def refresh(self, fingerprints: Collection[str]) -> None:
        """Bring what these trials have recorded since."""

    def complete(self, fingerprint: str) -> None:
        """Bring the files that the trial's record names."""

    def trained(self, fingerprint: str) -> bool:
        """Whether the weights are stored with which that training ended."""
        return (self.folder / fingerprint / WEIGHTS).exists()

    def forget_failed(self, fingerprint: str) -> None:
        """Clear the folder of a trial that failed by itself: nothing of it may be sent to the run of the next try.

        Raises:
            DamagedRecordError: if its record cannot be read.
        """
        if must_restart(self.folder / fingerprint):
            forget(self.folder / fingerprint)


class Fetched(Records):
    """Copies of what an object store has. One listing of the store tells what is new in all trials."""

    poll_seconds = 3.0

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(folder)
        self._bucket = Bucket(uri)
        self._trials: dict[str, StoredAttempts] = {}

    def refresh(self, fingerprints: Collection[str]) -> None:
        """Bring the records that have grown.

        An attempt that has begun and recorded nothing hides the one before: what that one still writes is lost.
        """
        if not fingerprints:
            return
        self._trials = self._bucket.trials()
        for fingerprint in fingerprints:
            attempts = self._trials.get(fingerprint, {})
            if attempts and max(attempts) == newest(attempts):
                self._bring(fingerprint, FILE)

    def complete(self, fingerprint: str) -> None:
        """Bring the files that the record names, once, and again where they have changed."""
        for event, _ in read(self.folder / fingerprint):
            if "artifact" in event:
                self._bring(fingerprint, event["artifact"])

    def trained(self, fingerprint: str) -> bool:
        """Whether the newest attempt has them."""
        attempts = self._trials.get(fingerprint, {})
        attempt = newest(attempts)
        return attempt is not None and WEIGHTS in attempts[attempt]

    def forget_failed(self, fingerprint: str) -> None:
        """The same in the store. The claim of the last attempt stays, so that the next one has a higher number."""
        if not must_restart(self.folder / fingerprint):
            return
        attempts = self._trials.get(fingerprint, {})
        for attempt, files in attempts.items():
            for name in files:
                if name != CLAIM or attempt != max(attempts):
                    self._bucket.remove(fingerprint, attempt, name)
        forget(self.folder / fingerprint)
        del self._trials[fingerprint]

    def _bring(self, fingerprint: str, name: str) -> None:
        attempts = self._trials.get(fingerprint, {})
        attempt = newest(attempts)
        stored = attempts[attempt].get(name) if attempt is not None else None
        if attempt is None or stored is None:
            return
        file = self.folder / fingerprint / name
        if file.exists():
            stat = file.stat()
            if (stat.st_size, stat.st_mtime_ns) == (stored.size, stored.mtime_ns):
                return
            if name == FILE and stat.st_size > stored.size:  # begun anew: what was delivered of it is no part of this
                (file.parent / MARK).unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # its attempt is over; the next listing has the one that followed
            self._bucket.get(file, fingerprint, attempt, name, stored=stored)
