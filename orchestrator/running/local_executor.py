"""Executor without Ray: runs trials in this process, for tests and debugging."""

from __future__ import annotations

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.live.uploader import Uploader
from trainables.context import Place
from trainables.run import run_together

# Ends of trials that are neither done nor failed: the same command takes them up again.
CONTINUED = ("interrupted", "broken", "full", "elsewhere", "superseded")


def run_here(source: Source, place: Place, uploader: Uploader, stop: Stop) -> bool:
    """Run the trials of `source` one after the other; return False if the run was stopped."""
    while not stop() and (trial := source.next(1)) is not None:
        uploader.started(trial.fingerprint)
        outcome = run_together(trial, place, stop)
        if outcome.end in ("elsewhere", "superseded"):
            uploader.notice(f"{trial.name}: {outcome.error}")
        if outcome.end == "broken":
            stop.request(f"{trial.name}: {outcome.error}.")
        if outcome.end == "full":
            stop.disk_full(outcome.error)
        end = outcome.end if outcome.end in ("finished", "stopped") else None
        uploader.ended(trial.fingerprint, outcome.error if outcome.end == "failed" else None, end)
        if outcome.end not in CONTINUED:
            source.ended(trial.fingerprint, finished=outcome.end == "finished")
    return not stop()
