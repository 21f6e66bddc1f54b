"""The plain executor: trials one after the other in this process, without Ray. For tests and for debugging."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.stopping import Stop
from orchestrator.watch import Watch
from search_spaces import Trial
from trainables.run import Place, run


def run_here(trials: Sequence[Trial], place: Place, watch: Watch, stop: Stop) -> bool:
    """Run `trials`; False if it was stopped."""
    for trial in trials:
        if stop():
            break
        watch.started(trial.fingerprint)
        outcome = run(trial, place, stop)
        watch.ended(trial.fingerprint, outcome.error or None)
    return not stop()
