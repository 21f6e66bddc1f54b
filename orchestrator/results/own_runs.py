"""Runs that trials of a sweep wrote, told from those that people or other tools put into the same experiment."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.results.store import PAGE, runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

WITHOUT_FINGERPRINT = ("sweep", "curve")  # kinds of our own runs that are no trials


def trial_runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    """Return the runs of trials, newest first. A run without a fingerprint was not written by a sweep."""
    return [run for run in runs(client, experiment_id, "tags.kind = 'trial'") if run.data.tags.get("fingerprint")]


def foreign_runs(client: MlflowClient, experiment_id: str) -> int:
    """Return how many runs were not written by a sweep, counted up to `PAGE`; 0 if the server cannot tell."""
    from mlflow.exceptions import MlflowException

    try:
        found = list(islice(runs(client, experiment_id, "tags.fingerprint IS NULL"), PAGE))
    except MlflowException:  # an older server does not know IS NULL
        return 0
    return sum(run.data.tags.get("kind") not in WITHOUT_FINGERPRINT for run in found)


def foreign_words(count: int) -> str:
    """Return a notice about `count` foreign runs; "" if there are none."""
    if not count:
        return ""
    many = f"{count} runs" if count > 1 else "1 run"
    return f"{many} of the experiment {'are' if count > 1 else 'is'} not of a sweep (no tag fingerprint), and ignored"
