"""The MLflow experiment of a sweep: which trials have a run, and how it stands. Written by the driver alone."""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.cost import Kind
from orchestrator.plan import Plan
from search_spaces import SpaceError, Trial
from trainables.tracking import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
TABLES = '[{"path": "layers.json", "type": "table"}]'  # makes the UI show layers.json as a table


@dataclass
class Run:
    """The MLflow run of a trial."""

    run_id: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


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
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", error))
        raise SpaceError(f"tracking server: {tracking_uri} does not answer ({reason})")
    if not tracking_uri.startswith(("sqlite:", "postgresql", "mysql", "mssql", "databricks")):
        raise SpaceError(
            f"--tracking-uri: '{tracking_uri}' is not a tracking store; give http://HOST:PORT or sqlite:///FILE"
        )


def existing(tracking_uri: str, experiment: str) -> Ledger | None:
    """The ledger of an experiment, or None if the store or the experiment is not there. Creates nothing.

    Raises:
        SpaceError: if the store cannot be read, or the experiment was deleted, which blocks its name.
    """
    file = sqlite_file(tracking_uri)
    if file is not None and not file.exists():
        return None
    client = connect(tracking_uri)
    found = _experiment(client, tracking_uri, experiment)
    return None if found is None else Ledger(client, experiment, found)


def create(tracking_uri: str, experiment: str, artifacts: Path | None) -> Ledger:
    """The ledger of an experiment, made if it is not there; `artifacts`: where a local store keeps files.

    Raises:
        SpaceError: as `existing` does.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # each step of making a store is no news to users
    client = connect(tracking_uri)
    found = _experiment(client, tracking_uri, experiment)
    if found is None:
        location = artifacts.resolve().as_uri() if artifacts else None
        found = str(client.create_experiment(experiment, artifact_location=location))
    return Ledger(client, experiment, found)


class Ledger:
    """The runs of one experiment, by fingerprint."""

    def __init__(self, client: MlflowClient, experiment: str, experiment_id: str) -> None:
        """Read the trial runs that are there."""
        self.client = client
        self.experiment = experiment
        self.experiment_id = experiment_id
        self.runs: dict[str, Run] = {}
        for run in self._search("tags.kind='trial'"):
            known = self.runs.get(run.data.tags["fingerprint"])
            if known is None or known.status != "FINISHED":
                self.runs[run.data.tags["fingerprint"]] = Run(
                    run.info.run_id, run.info.status, run.data.params, run.data.metrics
                )

    @property
    def finished(self) -> frozenset[str]:
        """The fingerprints with results."""
        return frozenset(fp for fp, run in self.runs.items() if run.status == "FINISHED")

    @property
    def epoch_seconds(self) -> dict[Kind, list[float]]:
        """Seconds per epoch of the trials so far."""
        measured: dict[Kind, list[float]] = {}
        for run in self.runs.values():
            if "time/epoch_seconds" in run.metrics:
                kind = run.params["dataset"], run.params["architecture"], int(run.params["batch_size"])
                measured.setdefault(kind, []).append(run.metrics["time/epoch_seconds"])
        return measured

    def start_sweep(self, plan: Plan, command: str) -> str:
        """The parent run of this very plan, set to RUNNING: the one it has, or a new one. Returns its id."""
        record = plan.record()
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
        for run in self._search(f"tags.kind='sweep' and tags.plan='{digest}'"):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = {"kind": "sweep", "space": plan.space, "plan": digest, "command": command}
        run_id = self._create(f"sweep {plan.space}", tags | {"mlflow.note.content": plan.description})
        self.client.log_dict(run_id, record, "plan.json")
        counts = {"cells": len(plan.cells), "trials": len(plan.trials), "done_before": len(plan.done)}
        for key, value in counts.items():
            self.client.log_param(run_id, key, value)
        return run_id

    def take_up(self, trial: Trial, parent: str, color: str) -> str:
        """The run of `trial`, set to RUNNING: the one it has, or a new child of `parent`."""
        run = self.runs.get(trial.fingerprint)
        if run is not None:
            if "error" in self.client.get_run(run.run_id).data.tags:
                self.client.delete_tag(run.run_id, "error")
            self.client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
            return run.run_id
        tags = {
            "kind": "trial",
            "fingerprint": trial.fingerprint,
            "config": trial.config,
            "space": self.experiment,
            "mlflow.parentRunId": parent,
            "mlflow.runColor": color,
            "mlflow.loggedArtifacts": TABLES,
        }
        run_id = self._create(trial.name, tags)
        self.runs[trial.fingerprint] = Run(run_id, "RUNNING")
        return run_id

    def close_trial(self, fingerprint: str, status: Status, error: str | None = None) -> None:
        """Set the final status of a trial's run; `error` if its record does not tell one."""
        run = self.runs[fingerprint]
        if error is not None:
            self.client.set_tag(run.run_id, "error", error)
        self.close(run.run_id, status)
        run.status = status

    def close(self, run_id: str, status: Status) -> None:
        """Set the final status of any run."""
        self.client.set_terminated(run_id, status)

    def reconcile(self, plan: Plan) -> None:
        """Close what a driver that died left RUNNING and this sweep will not take up again."""
        resumed = {trial.fingerprint for trial in plan.todo}
        for fingerprint, run in self.runs.items():
            if run.status == "RUNNING" and fingerprint not in resumed:
                self.close_trial(fingerprint, "KILLED")
        for sweep in list(self._search("tags.kind='sweep' and attributes.status='RUNNING'")):
            self.close(sweep.info.run_id, "KILLED")

    def _create(self, name: str, tags: dict[str, str]) -> str:
        common = {"mlflow.user": _user(), "mlflow.source.name": "orchestrator.sweep", "git_commit": _commit()}
        run = self.client.create_run(self.experiment_id, run_name=name, tags=common | tags)
        return str(run.info.run_id)

    def _search(self, query: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                query,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file behind a SQLite URI, None for any other."""
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix)) if tracking_uri.startswith(prefix) else None


def _experiment(client: MlflowClient, tracking_uri: str, name: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment_by_name(name)
    except MlflowException as error:
        raise SpaceError(f"tracking store: {tracking_uri}: {' '.join(str(error).split())}") from None
    if found is not None and found.lifecycle_stage != "active":
        raise SpaceError(
            f"experiment: '{name}' was deleted in MLflow, which blocks its name; "
            "restore it there or give another with --experiment"
        )
    return None if found is None else str(found.experiment_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def _commit() -> str:
    """The commit of the code that runs, "-dirty" if it was changed since; "unknown" outside of a checkout."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
