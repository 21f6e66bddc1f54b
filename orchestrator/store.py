"""Opening an MLflow store, and refusing in one line what is none."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.ledger import Ledger
from orchestrator.results import connect, public, sqlite_file
from search_spaces import SpaceError
from trainables import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


def require_answer(tracking_uri: str) -> None:
    """Make sure that a tracking store is there, or can be made, without making it.

    Raises:
        SpaceError: in one sentence.
    """
    if tracking_uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
                reason = f"HTTP {answer.status}"
        except (OSError, ValueError, HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        raise SpaceError(f"tracking server: {public(tracking_uri)} does not answer ({reason})")
    scheme, _, rest = tracking_uri.partition("://")
    if scheme.partition("+")[0] not in ("sqlite", "postgresql", "mysql", "mssql") or not rest.strip("/"):
        raise SpaceError(
            f"--tracking-uri: '{public(tracking_uri)}' is not a tracking store; give http://HOST:PORT or sqlite:///FILE"
        )


def require_name(experiment: str) -> None:
    """Refuse names that MLflow or a terminal would choke on.

    Raises:
        SpaceError: in one sentence.
    """
    if not experiment.strip() or not experiment.isprintable() or len(experiment) > 200:
        raise SpaceError(f"experiment: {experiment[:60]!r} is not a name; it must be 1 to 200 printable characters")


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


@contextmanager
def one_line(tracking_uri: str) -> Iterator[None]:
    """Whatever a store raises while it is opened: MLflow's own errors, its database driver's, a missing driver."""
    try:
        yield
    except SpaceError:
        raise
    except Exception as error:  # noqa: BLE001 - the kinds are many; a store that does not open is one thing
        reason = " ".join(str(error).split()).replace(tracking_uri, public(tracking_uri))
        raise SpaceError(f"tracking store: {public(tracking_uri)}: {reason[:300]}") from None


def _experiment(client: MlflowClient, name: str) -> Experiment | None:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise SpaceError(
            f"experiment: '{name}' was deleted in MLflow, which blocks its name; "
            "restore it there or give another with --experiment"
        )
    return found
