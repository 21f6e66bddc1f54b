"""Status of a sweep, read from MLflow: from any machine that reaches the store, whether its driver lives or not."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.results.details import Details, read_json
from orchestrator.results.own_runs import trial_runs
from orchestrator.results.results import experiment_named, rank
from orchestrator.results.row import STATUS
from orchestrator.results.store import ReportError, connect, mlflow_errors, runs
from orchestrator.running.lease import BEAT_SECONDS, LEAVING, TAG
from orchestrator.terminal import duration, several
from search_spaces import Trial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LATE_SECONDS = 2 * BEAT_SECONDS  # a driver that renews its tag later than this is not alive
LISTED = 20  # running or failed trials that are named


@dataclass(frozen=True)
class SweepStatus:
    """Where the newest sweep of an experiment stands."""

    experiment: str
    state: str  # of the sweep, in words
    alive: bool  # whether its driver renews its tag
    trials: int  # in the plan; a search may add more
    counts: dict[str, int]  # trials by status; those that are missing have no run yet
    running: tuple[str, ...]  # names, with the epoch
    failed: tuple[str, ...]  # names, with the first line of the error
    seconds_left: float | None  # None: nothing has finished yet, or nothing runs

    @property
    def lines(self) -> Iterator[str]:
        """Yield the status in lines for people."""
        to_do = self.trials - sum(self.counts.values())
        parts = [f"{self.counts.get('finished', 0)} of {several(self.trials, 'trial')} finished"]
        parts += [f"{count} {status}" for status, count in self.counts.items() if count and status != "finished"]
        parts += [f"{to_do} to do"] if to_do else []
        left = f"; about {duration(self.seconds_left)} left" if self.seconds_left is not None else ""
        yield f"{self.experiment}: {self.state}"
        yield f"  {', '.join(parts)}{left}"
        for kind, names in (("running", self.running), ("failed", self.failed)):
            yield from (f"  {kind}  {name}" for name in names[:LISTED])
            if len(names) > LISTED:
                yield f"  {kind}  {len(names) - LISTED} more"


def experiments_with_sweeps(tracking_uri: str) -> list[str]:
    """Return the names of the experiments of a store that sweeps have written, the newest first.

    Raises:
        ReportError: if there is no such store, or no sweep in it.
    """
    client = connect(tracking_uri)
    with mlflow_errors():
        found = client.search_experiments(max_results=1000, order_by=["last_update_time DESC"])
        names = [each.name for each in found if next(runs(client, each.experiment_id, "tags.kind = 'sweep'"), None)]
    if not names:
        raise ReportError("no sweep has written to this store yet")
    return names


def read_status(tracking_uri: str, experiment: str) -> SweepStatus:
    """Return the status of the newest sweep of an experiment. Takes seconds if it runs: its driver must show itself.

    Raises:
        ReportError: if there is no such store or experiment, or no sweep in it.
    """
    client = connect(tracking_uri)
    with mlflow_errors():
        identifier = experiment_named(client, experiment).experiment_id
        sweeps = sorted(runs(client, identifier, "tags.kind = 'sweep'"), key=_newest)
        if not sweeps:
            raise ReportError(f"experiment '{experiment}': no sweep has written to it yet")
        sweep = sweeps[-1]
        state, alive = _state(client, identifier, sweep)
        plan = read_json(client, sweep.info.artifact_uri, "plan.json") or {}
        latest = {run.data.tags["fingerprint"]: run for run in sorted(trial_runs(client, identifier), key=rank)}
        planned = dict(plan.get("trials", {}))
        # Trials that a search or a comparison has asked for are in the plan only after the sweep.
        own = {key for key, run in latest.items() if run.data.tags.get("mlflow.parentRunId") == sweep.info.run_id}
        planned |= {key: dict(latest[key].data.params) for key in own - planned.keys()}
        known = {key: run for key, run in latest.items() if key in planned}
        by_status: dict[str, list[str]] = {}
        for key, run in known.items():
            by_status.setdefault(_status(run, alive), []).append(key)
        running = by_status.get("running", [])
        details = Details(client, {})
        epochs = details.histories([known[key].info.run_id for key in running[:LISTED]], "train/loss")
    names = {key: _name(planned[key], known[key]) for key in known}
    return SweepStatus(
        experiment,
        state,
        alive,
        len(planned),
        {status: len(keys) for status, keys in by_status.items()},
        tuple(
            f"{names[key]}: epoch {max(epochs.get(known[key].info.run_id) or [0])} of {planned[key].get('epochs', '?')}"
            for key in running
        ),
        tuple(f"{names[key]}: {_error(known[key])}" for key in by_status.get("failed", [])),
        _seconds_left(known.values(), len(planned) - len(known), len(running)) if alive else None,
    )


def _newest(sweep: Run) -> tuple[bool, int]:
    """Return a sort key: a sweep that runs comes last, as the same one may be continued after newer ones."""
    return sweep.info.status == "RUNNING", sweep.info.end_time or sweep.info.start_time or 0


def _state(client: MlflowClient, experiment_id: str, sweep: Run) -> tuple[str, bool]:
    """Return the state of a sweep in words, and whether its driver is alive."""
    since = sweep.info.start_time or 0
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(since / 1000))
    if sweep.info.status == "FINISHED":
        return f"all done (begun {started})", False
    seen = _driver(client, experiment_id)
    deadline = time.monotonic() + LATE_SECONDS
    while seen and time.monotonic() < deadline:
        time.sleep(0.5)
        now = _driver(client, experiment_id)
        if not now:
            return f"ended just now (begun {started})", False
        if now != seen:
            where, _, beat = now.rpartition(" ")
            return f"{'ending' if beat.startswith(LEAVING) else 'running'} on {where} (begun {started})", True
    return f"not running (begun {started}); the same command continues it", False


def _driver(client: MlflowClient, experiment_id: str) -> str:
    return str(client.get_experiment(experiment_id).tags.get(TAG, ""))


def _status(run: Run, alive: bool) -> str:
    if run.info.status == "KILLED":
        return "stopped early" if run.data.tags.get("stopped") else "interrupted"
    if run.info.status == "RUNNING":
        return "running" if alive else "interrupted"
    if run.info.status == "FAILED":
        return "failed"
    return str(STATUS.get(run.info.status, run.info.status.lower()))


def _name(record: Any, run: Run) -> str:
    with suppress(ValidationError):  # of another version
        return Trial.model_validate(record).name
    return str(run.data.tags.get("mlflow.runName", run.info.run_id))


def _error(run: Run) -> str:
    return str(run.data.tags.get("error", "no reason recorded")).strip().partition("\n")[0]


def _seconds_left(known: Collection[Run], missing: int, running: int) -> float | None:
    """Return how long the rest takes at the pace of the finished trials; running ones are half done on average."""
    took = [run.data.metrics["time/total_seconds"] for run in known if "time/total_seconds" in run.data.metrics]
    return median(took) * (missing + running / 2) / running if took and running else None
