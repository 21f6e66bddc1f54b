"""MLflow experiment of a sweep: the run of each trial and its status. Only the driver writes to it."""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.planning.epoch_times import TrialKind
from orchestrator.results.details import Details, read_json
from orchestrator.results.own_runs import foreign_runs, trial_runs
from orchestrator.results.store import connect, create_store, is_empty, runs, store_errors
from orchestrator.tracking.dataset_input import log_dataset
from orchestrator.tracking.measured_speeds import label_of, on_a_gpu, workers_of
from search_spaces import EarlyStopping, SpaceError, Trial
from search_spaces.labels import RUN_NAME, short
from trainables.record import mlflow
from trainables.record.mlflow import delivers_to

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

    from orchestrator.planning.plan import Plan


def user() -> str:
    """Return the name of the user who runs the sweep."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"


def commit(folder: Path = Path(__file__).parent) -> str:
    """Return the commit of the running code, with "-dirty" if files were changed since.

    Without a git checkout, as on the nodes of a cluster, return GIT_COMMIT, or "unknown" if it is not set.
    """
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("GIT_COMMIT", "").strip() or "unknown"
    return done.stdout.strip()


RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
SPACE = "space.json"  # artifact of a sweep's run: the space as given, from which the sweep can be run again
TABLES = '[{"path": "layers.json", "type": "table"}]'  # makes the UI show layers.json as a table


@dataclass
class TrialRun:
    """The MLflow run of a trial."""

    run_id: str
    status: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    machine: str = ""  # the hardware it ran on
    stopped: str = ""  # when and by which rule early stopping stopped it
    workers: int = 1  # that trained it together


class ExperimentRuns:
    """Runs of one experiment, by fingerprint."""

    def __init__(self, client: MlflowClient, experiment: str, experiment_id: str) -> None:
        """Read the trial runs that exist."""
        self.client = client
        self.experiment = experiment
        self.experiment_id = experiment_id
        self._space = experiment  # of the sweep that runs
        self.runs: dict[str, TrialRun] = {}
        self._doubles: list[str] = []  # ids of duplicate runs, which do not count
        self.read()

    def read(self) -> None:
        """Read the trial runs that exist now."""
        found: dict[str, list[Any]] = {}
        for run in trial_runs(self.client, self.experiment_id):
            found.setdefault(run.data.tags["fingerprint"], []).append(run)
        self._doubles = [run.info.run_id for runs in found.values() for run in _by_worth(runs)[1:]]
        self.runs = {fingerprint: _as_run(_by_worth(runs)[0]) for fingerprint, runs in found.items()}

    @property
    def foreign(self) -> int:
        """Return how many runs of the experiment were not written by a sweep. Asks the store each time."""
        return foreign_runs(self.client, self.experiment_id)

    @property
    def finished(self) -> frozenset[str]:
        """Return the fingerprints of the finished trials."""
        return frozenset(fp for fp, run in self.runs.items() if run.status == "FINISHED")

    def curves(self, fingerprints: Collection[str], metric: str) -> dict[str, dict[int, float]]:
        """Return a metric after each epoch, by fingerprint, for the given trials whose run has it."""
        runs = {fp: run.run_id for fp, run in self.runs.items() if fp in fingerprints and metric in run.metrics}
        found = Details(self.client, {}).histories(runs.values(), metric)
        return {fingerprint: found[run_id] for fingerprint, run_id in runs.items()}

    def done(self, stopping: EarlyStopping | None) -> frozenset[str]:
        """Return the fingerprints that need no more training: finished, or stopped early by the same rule."""
        stopped_early = {fp for fp, run in self.runs.items() if run.status == "KILLED" and run.stopped}
        return self.finished | {fp for fp in stopped_early if stopping and stopping.stopped(self.runs[fp].stopped)}

    def epoch_seconds(self, on_gpu: bool) -> tuple[dict[TrialKind, list[float]], set[str]]:
        """Return the seconds per epoch of earlier trials on GPUs, or on CPUs, and the machines they ran on.

        For a trial with several workers, the seconds are the sum over its workers.
        """
        measured: dict[TrialKind, list[float]] = {}
        machines: set[str] = set()
        for run in self.runs.values():
            if "time/epoch_seconds" in run.metrics and on_gpu == on_a_gpu(run.machine):
                kind = run.params["dataset"], label_of(run.params), int(run.params["batch_size"])
                measured.setdefault(kind, []).append(run.workers * run.metrics["time/epoch_seconds"])
                machines.add(run.machine)
        return measured, machines

    def settled(self, plan: Plan) -> bool:
        """Return True if a sweep of the same plan has finished and all trials its search chose are still done."""
        for sweep in self._sweeps(plan)[:1]:
            record = read_json(self.client, sweep.info.artifact_uri, "plan.json") or {}
            chosen = record.get("trials", {}).keys()
            return bool(sweep.info.status == "FINISHED" and chosen and chosen <= self.done(plan.early_stopping))
        return False

    def start_sweep(self, plan: Plan, command: str) -> str:
        """Set the parent run of the same plan to RUNNING, create it if there is none, and return its id."""
        self._space = plan.space
        known = self._sweeps(plan)
        self._delete(run.info.run_id for run in known[1:])
        if known:
            run_id = str(known[0].info.run_id)
            self.client.update_run(run_id, status="RUNNING")
        else:
            tags = {"kind": "sweep", "space": plan.space, "plan": _digest(plan), "command": command}
            run_id = self._create(f"sweep {plan.space}", tags | {"mlflow.note.content": plan.description})
        self.log_plan(run_id, plan.record())
        self.client.log_dict(run_id, dict(plan.written), SPACE)
        for key, value in {"cells": len(plan.cells), "trials": len(plan.trials)}.items():
            self.client.log_param(run_id, key, value)
        return run_id

    def log_plan(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Log the plan of a sweep to its run as `plan.json`, which reports read."""
        self.client.log_dict(run_id, dict(record), "plan.json")

    def take_up(self, trial: Trial, parent: str, color: str, folder: Path) -> str:
        """Set the run of `trial` to RUNNING, create it as a child of `parent` if there is none, and return its id.

        A failed run is deleted and replaced (MLflow's delete, which can be restored): points of the failed attempt
        cannot be removed and would mix with those of the new one. The same holds for a run whose points came from
        another event log than the one in `folder`, from a machine or a storage that no longer exists.
        """
        run = self.runs.get(trial.fingerprint)
        if run is not None and (run.status == "FAILED" or (run.metrics and not delivers_to(folder, run.run_id))):
            self._delete([run.run_id])
            run = None
        if run is not None:
            self.client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
            run.metrics = {}  # of an earlier attempt; from now on its event log says more
            return run.run_id
        tags = {
            "kind": "trial",
            "fingerprint": trial.fingerprint,
            "config": trial.config,
            "space": self._space,
            "mlflow.parentRunId": parent,
            "mlflow.runColor": color,
            "mlflow.loggedArtifacts": TABLES,
        }
        run_id = self._create(trial.name, tags)
        self.runs[trial.fingerprint] = TrialRun(run_id, "RUNNING")
        with suppress(Exception):  # the params hold the same facts: a server without datasets loses nothing
            log_dataset(self.client, run_id, trial)
        return run_id

    def close_trial(self, fingerprint: str, status: RunStatus, error: str | None = None, stopped: str = "") -> None:
        """Set the final status of a trial's run.

        `error` is given if the trial's event log has none; `stopped` is the stopping reason from that log.
        """
        run = self.runs[fingerprint]
        if error is not None:
            self.client.set_tag(run.run_id, "error", error)
        self.close(run.run_id, status)
        run.status, run.stopped = status, stopped

    def close(self, run_id: str, status: RunStatus) -> None:
        """Set the final status of any run."""
        self.client.set_terminated(run_id, status)

    def reconcile(self, plan: Plan) -> None:
        """Close the runs that a dead driver left RUNNING and this sweep will not resume, and delete duplicates.

        A server that is killed after it created a run and before it answered leaves a run that the driver does not know
        of; the driver then requests another one.
        """
        self._delete(self._doubles)
        resumed = {trial.fingerprint for trial in plan.todo}
        for fingerprint, run in self.runs.items():
            if run.status == "RUNNING" and fingerprint not in resumed:
                self.close_trial(fingerprint, "KILLED")
        for sweep in list(self._search("tags.kind='sweep' and attributes.status='RUNNING'")):
            if "plan" in sweep.data.tags:
                self.close(sweep.info.run_id, "KILLED")

    def settle(self, parent: str) -> None:
        """Delete the runs created by requests whose answers were lost, at the end of the sweep `parent`.

        No process writes to them.
        """
        ours = {parent, *(run.run_id for run in self.runs.values())}
        running = [run for run in self._search("attributes.status='RUNNING'") if run.info.run_id not in ours]
        written_by_sweeps = {("sweep", "plan"), ("trial", "fingerprint")}
        self._delete(
            run.info.run_id
            for run in running
            if any(run.data.tags.get("kind") == kind and tag in run.data.tags for kind, tag in written_by_sweeps)
        )

    def _delete(self, run_ids: Iterable[str]) -> None:
        """Delete runs the way MLflow does: they can be restored until `mlflow gc` removes them."""
        for run_id in run_ids:
            self.client.delete_run(run_id)

    def _sweeps(self, plan: Plan) -> list[Any]:
        """Return the parent runs of the same plan, the one that counts first."""
        return _by_worth(self._search(f"tags.kind='sweep' and tags.plan='{_digest(plan)}'"))

    def _create(self, name: str, tags: dict[str, str]) -> str:
        common = {"mlflow.user": user(), "mlflow.source.name": "orchestrator.sweep", "git_commit": commit()}
        run = self.client.create_run(self.experiment_id, run_name=short(name, RUN_NAME), tags=common | tags)
        return str(run.info.run_id)

    def _search(self, query: str) -> Iterator[Any]:
        return runs(self.client, self.experiment_id, query)


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan.record(), sort_keys=True).encode()).hexdigest()[:16]


def _by_worth(runs: Iterable[Any]) -> list[Any]:
    """Sort runs of one thing, the one that counts first: finished, else one with data, else the oldest."""

    def worth(run: Any) -> tuple[bool, bool, bool]:
        status = run.info.status
        return status == "FINISHED", bool(run.data.metrics or run.data.params), status != "RUNNING"

    return sorted(sorted(runs, key=lambda run: run.info.start_time or 0), key=worth, reverse=True)


def _as_run(run: Any) -> TrialRun:
    return TrialRun(
        run.info.run_id,
        run.info.status,
        run.data.params,
        run.data.metrics,
        run.data.tags.get("machine", ""),
        run.data.tags.get("stopped", ""),
        workers_of(run.data.tags),
    )


def existing(tracking_uri: str, experiment: str) -> ExperimentRuns | None:
    """Return the ledger of an experiment, or None if the store or the experiment is missing. Creates nothing.

    Raises:
        SpaceError: if the store cannot be read, or the experiment was deleted, which blocks its name.
    """
    if is_empty(tracking_uri):
        return None
    with store_errors(tracking_uri):
        client = connect(tracking_uri)
        found = _experiment(client, experiment)
        return None if found is None else ExperimentRuns(client, experiment, found.experiment_id)


def create(tracking_uri: str, experiment: str, artifacts: Path | None) -> ExperimentRuns:
    """Return the ledger of an experiment, created if missing; a local store keeps files in `artifacts`.

    Raises:
        SpaceError: as `existing` does, or if the experiment keeps its files in another folder.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # users need not see each step of creating a store
    location = artifacts.resolve().as_uri() if artifacts else None
    with store_errors(tracking_uri):
        create_store(tracking_uri)
        client = mlflow.upload_client(tracking_uri)
        found = _experiment(client, experiment)
        if found is None:
            made = client.create_experiment(experiment, artifact_location=location)
            return ExperimentRuns(client, experiment, str(made))
    if location is not None and found.artifact_location != location:
        raise SpaceError(
            f"experiment '{experiment}' keeps its files in {found.artifact_location}, not in {location}: "
            "the output folder was moved or copied; move it back, or give another --output"
        )
    with store_errors(tracking_uri):
        return ExperimentRuns(client, experiment, found.experiment_id)


def _experiment(client: MlflowClient, name: str) -> Experiment | None:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage != "active":
        raise SpaceError(
            f"experiment: '{name}' was deleted in MLflow, which blocks its name; "
            "restore it there or give another with --experiment"
        )
    return found
