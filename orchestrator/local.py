"""The plain executor: trials one after the other in this process, without Ray. For tests and for debugging."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.watch import Watch
from search_spaces import Trial
from trainables.run import Place, run


def run_here(trials: Sequence[Trial], place: Place, watch: Watch) -> bool:
    """Run `trials`; False if interrupted (Ctrl-C)."""
    for trial in trials:
        watch.started(trial.fingerprint)
        try:
            outcome = run(trial, place)
        except KeyboardInterrupt:
            watch.ended(trial.fingerprint)
            return False
        watch.ended(trial.fingerprint, outcome.error or None)
    return True
