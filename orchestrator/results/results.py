"""Results of an experiment, read from MLflow: every cell of every sweep, joined with the run that computed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.results.details import Details, read_json
from orchestrator.results.own_runs import foreign_runs, trial_runs
from orchestrator.results.row import STATUS, Row
from orchestrator.results.store import ReportError, connect, mlflow_errors, runs
from orchestrator.results.union import placed, unite
from search_spaces import Cell, Trial, UntilDecided
from search_spaces.errors import nearest

if TYPE_CHECKING:  # mlflow takes a second to import: only code that reads or writes it pays for that
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


@dataclass(frozen=True)
class Sweep:
    """One sweep's parent run and its plan, which is empty if the sweep died before the plan was logged."""

    run_id: str
    tags: Mapping[str, str]
    plan: Mapping[str, Any]
    started: int = 0  # in milliseconds since 1970, as MLflow has it; 0 if not known
    ended: int = 0

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return the cells of the plan."""
        return tuple(map(Cell.model_validate, self.plan.get("cells", ())))

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """Return the trials of the plan by fingerprint."""
        return {key: Trial.model_validate(record) for key, record in self.plan.get("trials", {}).items()}


@dataclass(frozen=True, eq=False)  # compared by identity: caches keep derived values by this object
class Results:
    """Union of all sweeps of one or more experiments, newest sweep first."""

    experiment: str  # the name of the experiment, or of several: `a + b`
    experiment_id: str
    sweeps: tuple[Sweep, ...]
    rows: tuple[Row, ...]
    trials: Mapping[str, Trial]
    # Trials that a search tried before it chose; they are not results of the grid. The best of them are among `rows`.
    tried: tuple[Row, ...]
    details: Details  # read on demand: a table does not need the layers of all runs
    foreign: int = 0  # runs of the experiments that no sweep has written
    selection: str = ""  # the `--where` expression; empty: all cells

    @property
    def description(self) -> str:
        """Return the description of each space, from its newest sweep, joined by spaces."""
        told: dict[str, str] = {}
        for sweep in self.sweeps:
            if sweep.plan:
                told.setdefault(str(sweep.plan.get("space")), str(sweep.plan["description"]))
        return " ".join(dict.fromkeys(filter(None, told.values())))

    @cached_property
    def until(self) -> UntilDecided | None:
        """Return the rule by which sweeps chose their seeds, of several the widest; None if all seeds were fixed."""
        rules = []
        for sweep in (sweep for sweep in self.sweeps if "until" in sweep.plan):
            with suppress(ValidationError, AttributeError, TypeError):  # another program's plan
                settings = {key: value for key, value in sweep.plan["until"].items() if key != "full"}
                rules.append(UntilDecided.model_validate(settings))
        if not rules:
            return None
        least, most = min(rule.least for rule in rules), max(rule.most for rule in rules)
        return rules[0].model_copy(update={"least": least, "most": most})

    @property
    def missing(self) -> tuple[Row, ...]:
        """Return the cells without a result."""
        return tuple(row for row in self.rows if row.status != "finished")


def read(store: MlflowClient | str, *experiments: str) -> Results:
    """Read experiments in bulk: one search for the sweeps, one for the trials, one artifact per sweep.

    Several experiments are read as one: equal trials count once, and cells are told apart by the fields in which their
    recipes differ.

    Raises:
        ReportError: if there is no such store or experiment, or nothing in it has finished.
    """
    name = " + ".join(dict.fromkeys(experiments))
    with mlflow_errors():
        client = connect(store) if isinstance(store, str) else store
        found = [experiment_named(client, experiment).experiment_id for experiment in dict.fromkeys(experiments)]
        parents = [run for experiment in found for run in runs(client, experiment, "tags.kind = 'sweep'")]
        parents.sort(key=lambda run: run.info.start_time or 0, reverse=True)
        sweeps = tuple(_sweep(run, read_json(client, run.info.artifact_uri, "plan.json")) for run in parents)
        of_trials = [run for experiment in found for run in trial_runs(client, experiment)]
        foreign = sum(foreign_runs(client, experiment) for experiment in found)
    if not any(sweep.plan for sweep in sweeps):
        raise ReportError(f"experiment '{name}': none of its {len(sweeps)} sweeps has a plan.json that can be read")
    best = {run.data.tags["fingerprint"]: run for run in sorted(of_trials, key=rank)}
    oldest_first = sweeps[::-1]
    trials = {key: trial for sweep in oldest_first for key, trial in sweep.trials.items()}
    chosen = _chosen(sweeps)
    mine = [[cell for cell in sweep.cells if not cell.study] + chosen[sweep.run_id] for sweep in oldest_first]
    rows = placed([_row(cell, best.get(cell.fingerprint)) for cell in unite(mine, trials)])
    asked = (cell for sweep in oldest_first for cell in sweep.cells if cell.role == "search")  # the first one first
    tried = {(cell.study, cell.fingerprint): cell for cell in asked}
    tried_rows = tuple(_row(cell, best.get(cell.fingerprint)) for cell in tried.values())
    require_finished(name, (*rows, *tried_rows))
    details = Details(client, {run.info.run_id: run.info.artifact_uri for run in (*parents, *of_trials)})
    return Results(name, found[0], sweeps, rows, trials, tried_rows, details, foreign)


def _sweep(run: Run, record: Any) -> Sweep:
    """Return the sweep of a parent run with its `plan.json`; without a plan if another program wrote that file."""
    plan = record if isinstance(record, dict) else {}
    found = Sweep(run.info.run_id, run.data.tags, plan, run.info.start_time or 0, run.info.end_time or 0)
    with suppress(ValidationError, AttributeError, TypeError):
        fingerprints = {cell.fingerprint for cell in found.cells}
        if {"space", "description"} <= found.plan.keys() and fingerprints <= found.trials.keys():
            return found
    return replace(found, plan={})


def _chosen(sweeps: Sequence[Sweep]) -> dict[str, list[Cell]]:
    """Return the best settings of each searched cell by sweep id, each cell only from the newest sweep that has it."""
    latest: dict[str, str] = {}
    chosen: dict[str, list[Cell]] = {sweep.run_id: [] for sweep in sweeps}
    for sweep in sweeps:  # newest first
        for cell in sweep.cells:
            name = f"{cell.study}/{cell.pruner}"
            if cell.study and cell.role == "grid" and latest.setdefault(name, sweep.run_id) == sweep.run_id:
                chosen[sweep.run_id].append(cell)
    return chosen


def require_finished(name: str, rows: Sequence[Row]) -> None:
    """Raise an error if no row has finished.

    Raises:
        ReportError: with the number of cells in each status.
    """
    if not any(row.status == "finished" for row in rows):
        counts = ", ".join(f"{n} {status}" for status, n in Counter(row.status for row in rows).items())
        raise ReportError(f"experiment '{name}': no trial has finished yet (cells: {counts or 'none'})")


def experiment_named(client: MlflowClient, name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        ReportError: if there is none, with the nearest name.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return found
    names = [e.name for e in client.search_experiments(max_results=1000) if e.name != "Default"]
    near = nearest(name, names)
    hint = f"; did you mean '{near}'?" if near else "."
    raise ReportError(f"experiment '{name}' does not exist{hint} There are: {', '.join(names) or 'none'}")


def rank(run: Run) -> tuple[bool, bool, int]:
    """Return a sort key for the runs of one trial; the last run counts: finished, else running, else the newest."""
    status = run.info.status
    return status == "FINISHED", STATUS.get(status) == "running", run.info.start_time or 0


def _row(cell: Cell, run: Run | None) -> Row:
    if run is None:
        return Row(cell)
    status = STATUS.get(run.info.status, "failed")
    error = ""
    if status == "interrupted" and run.data.tags.get("stopped"):  # by early stopping, and not restarted since
        status, error = "stopped", run.data.tags["stopped"]
    if status == "failed":
        told = run.data.tags.get("error", "").strip() or "no error recorded"
        error = told.splitlines()[0]
    return Row(cell, status, run.info.run_id, run.data.metrics, run.data.tags, error)
