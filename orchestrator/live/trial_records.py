"""Access of the driver to the trials' folders, on a shared path or in an object store."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from trainables.record.event_log import FILE, must_restart, read, remove_record
from trainables.record.mlflow import MARK
from trainables.record.object_store import CLAIM, Bucket, StoredAttempts, newest
from trainables.shared.pretraining import WEIGHTS


class Records:
    """Trials' folders on a path that trials and driver share, so nothing needs to be fetched."""

    poll_seconds = 0.5

    def __init__(self, folder: Path) -> None:
        """Read from `folder`, which has one folder per fingerprint."""
        self.folder = folder

    def refresh(self, fingerprints: Collection[str]) -> None:
        """Fetch new events of these trials."""

    def complete(self, fingerprint: str) -> None:
        """Fetch the artifacts that the trial's event log names."""

    def trained(self, fingerprint: str) -> bool:
        """Return True if the trained weights of that trial are stored."""
        return (self.folder / fingerprint / WEIGHTS).exists()

    def forget_failed(self, fingerprint: str) -> None:
        """Clear the folder of a trial that failed by itself, so that nothing of it is sent to the next attempt's run.

        Raises:
            DamagedRecordError: if its event log cannot be read.
        """
        if must_restart(self.folder / fingerprint):
            remove_record(self.folder / fingerprint)


class FetchedRecords(Records):
    """Trials' folders fetched from an object store. One listing of the store shows what is new in all trials."""

    poll_seconds = 3.0

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(folder)
        self._bucket = Bucket(uri)
        self._trials: dict[str, StoredAttempts] = {}

    def refresh(self, fingerprints: Collection[str]) -> None:
        """Fetch the event logs that have changed.

        If a new attempt has begun but recorded nothing, nothing is fetched: what the one before still writes is lost.
        """
        if not fingerprints:
            return
        self._trials = self._bucket.trials()
        for fingerprint in fingerprints:
            attempts = self._trials.get(fingerprint, {})
            if attempts and max(attempts) == newest(attempts):
                self._bring(fingerprint, FILE)

    def complete(self, fingerprint: str) -> None:
        """Fetch the artifacts that the event log names, if they are missing or have changed."""
        for event, _ in read(self.folder / fingerprint):
            if "artifact" in event:
                self._bring(fingerprint, event["artifact"])

    def trained(self, fingerprint: str) -> bool:
        """Return True if the newest attempt has stored the trained weights."""
        attempts = self._trials.get(fingerprint, {})
        attempt = newest(attempts)
        return attempt is not None and WEIGHTS in attempts[attempt]

    def forget_failed(self, fingerprint: str) -> None:
        """Clear the trial's folder, here and in the store; keep the last claim, so that attempt numbers keep rising."""
        if not must_restart(self.folder / fingerprint):
            return
        attempts = self._trials.get(fingerprint, {})
        for attempt, files in attempts.items():
            for name in files:
                if name != CLAIM or attempt != max(attempts):
                    self._bucket.remove(fingerprint, attempt, name)
        remove_record(self.folder / fingerprint)
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
            if name == FILE and stat.st_size > stored.size:  # a new attempt's log: the upload position is void
                (file.parent / MARK).unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the attempt was replaced; the next listing has the new one
            self._bucket.get(file, fingerprint, attempt, name, stored=stored)
