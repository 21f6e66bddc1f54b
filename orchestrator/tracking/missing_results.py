"""Results that finished runs lack, although their trials' records have them: found and sent."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.record.event_log import DamagedRecordError, snapshot
from trainables.record.mlflow import LateFileError, all_delivered, deliver_all, delivers_to

if TYPE_CHECKING:
    from mlflow import MlflowClient


def send_missing(
    client: MlflowClient, runs: Mapping[str, str], storage: Path, metrics: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Send what the finished `runs` (fingerprint -> run id) lack of the records in `storage`; return the fingerprints.

    A run whose last delivery ended before the end of its record lacks the rest. With `metrics` (fingerprint -> the last
    value of each in MLflow) metrics that are missing there are found too, which reads each record. A value that differs
    from the record is not replaced: it is for the audit to report. Records that were sent to other runs, and those of
    trials that have not finished, are left alone.

    Raises:
        Exception: whatever the client raises.
    """
    sent = []
    for fingerprint, run_id in runs.items():
        folder = storage / fingerprint
        if not delivers_to(folder, run_id) or (fingerprint not in metrics and all_delivered(folder, run_id)):
            continue
        with suppress(DamagedRecordError, LateFileError, OSError):  # no one can send that; the run stays as it is
            record = snapshot(folder)
            if record.end != "finished":
                continue
            missing = record.metrics.keys() - metrics.get(fingerprint, record.metrics).keys()
            if missing or not all_delivered(folder, run_id):
                sent += [fingerprint] if deliver_all(client, run_id, folder, record) else []
    return sent
