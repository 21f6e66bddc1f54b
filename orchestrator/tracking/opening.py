"""The ledger of an experiment: found, or made."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.reading.store import connect, one_line, sqlite_file
from orchestrator.tracking.ledger import Ledger
from search_spaces import SpaceError
from trainables import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def existing(tracking_uri: str, experiment: str) -> Ledger | None:
    """The ledger of an experiment, or None if the store or the experiment is not there. Creates nothing.

    Raises:
        SpaceError: if the store cannot be read, or the experiment was deleted, which blocks its name.
    """
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return None
    with one_line(tracking_uri):
        client = connect(tracking_uri)
        found = _experiment(client, experiment)
        return None if found is None else Ledger(client, experiment, found.experiment_id)


def create(tracking_uri: str, experiment: str, artifacts: Path | None) -> Ledger:
    """The ledger of an experiment, made if it is not there; `artifacts`: where a local store keeps files.

    Raises:
        SpaceError: as `existing` does.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # each step of making a store is no news to users
    location = artifacts.resolve().as_uri() if artifacts else None
    with one_line(tracking_uri):
        client = tracking.connect(tracking_uri)
        found = _experiment(client, experiment)
        if found is None:
            made = client.create_experiment(experiment, artifact_location=location)
            return Ledger(client, experiment, str(made))
    if location is not None and found.artifact_location != location:
        raise SpaceError(
            f"experiment '{experiment}' keeps its files in {found.artifact_location}, not in {location}: "
            "the output folder was moved or copied; move it back, or give another --output"
        )
    with one_line(tracking_uri):
        return Ledger(client, experiment, found.experiment_id)


def _experiment(client: MlflowClient, name: str) -> Experiment | None:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise SpaceError(
            f"experiment: '{name}' was deleted in MLflow, which blocks its name; "
            "restore it there or give another with --experiment"
        )
    return found
