"""The plain executor: trials one after the other in this process, without Ray. For tests and for debugging."""

from __future__ import annotations

from orchestrator.sources import Source
from orchestrator.stopping import Stop
from orchestrator.watch import Watch
from trainables.place import Place
from trainables.run import run


def run_here(source: Source, place: Place, watch: Watch, stop: Stop) -> bool:
    """Run the trials of `source`; False if it was stopped."""
    while not stop() and (trial := source.next(1)) is not None:
        watch.started(trial.fingerprint)
        outcome = run(trial, place, stop)
        if outcome.end in ("elsewhere", "superseded"):
            watch.notice(f"{trial.name}: {outcome.error}")
        watch.ended(trial.fingerprint, outcome.error if outcome.end == "failed" else None)
        if outcome.end != "interrupted":  # else it is not over: the same command takes it up again
            source.ended(trial.fingerprint)
    return not stop()
