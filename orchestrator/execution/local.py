"""The plain executor: trials in this process, without Ray. For tests and for debugging."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.live.sources import Source
from orchestrator.live.stopping import Stop
from orchestrator.live.watch import Watch
from search_spaces import Trial
from trainables.packed import together
from trainables.place import Place
from trainables.run import Outcome, run_together


def run_here(source: Source, place: Place, watch: Watch, stop: Stop, pack: int = 1) -> bool:
    """Run the trials of `source`, `pack` at a time; False if it was stopped."""

    def take() -> Trial | None:
        trial = None if stop() else source.next(pack)
        if trial is not None:
            watch.started(trial.fingerprint)
        return trial

    def ended(trial: Trial, outcome: Outcome) -> None:
        if outcome.end in ("elsewhere", "superseded"):
            watch.notice(f"{trial.name}: {outcome.error}")
        if outcome.end == "broken":
            stop.request(f"{trial.name}: {outcome.error}.")
        watch.ended(trial.fingerprint, outcome.error if outcome.end == "failed" else None)
        if outcome.end not in ("interrupted", "broken"):  # else it is not over: the same command takes it up again
            source.ended(trial.fingerprint)

    here = replace(place, shared=pack > 1)
    together(pack, take, lambda trial: run_together(trial, here, stop), ended)
    return not stop()
