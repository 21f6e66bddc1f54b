"""Studies and further seeds of a plan: continue them from what is stored, and write studies into its record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import how_it_ended
from orchestrator.planning.plan import Plan
from orchestrator.planning.study_plan import StudyPlan
from orchestrator.results.store import database, public, public_reason, sqlite_file, sqlite_uri
from orchestrator.search.optuna_study import Result, StudySearcher
from orchestrator.search.until_decided import SeedsUntilDecided
from orchestrator.tracking.experiment import ExperimentRuns
from search_spaces import SpaceError
from trainables.record.event_log import read
from trainables.record.files import create_database
from trainables.record.mlflow import with_driver


def take_up(search: StudyPlan, output: Path, book: ExperimentRuns, records: Records) -> StudySearcher:
    """Return the studies of `search`, continued from where an earlier driver left them.

    Raises:
        SpaceError: if their storage cannot be used.
    """
    from optuna.storages import RDBStorage

    wanted = search.grid.space.search
    url = (wanted.storage if wanted else "") or sqlite_uri(output / "optuna.db")
    with storage_errors(url):
        if file := sqlite_file(url):
            create_database(file, lambda new: RDBStorage(new).engine.dispose())
        storage = RDBStorage(with_driver(url))
    return StudySearcher(search.grid, search.studies, storage, _results(book, records))


def require_storage(url: str) -> None:
    """Check that Optuna can use the storage, and connect to it if it is a database server.

    Raises:
        SpaceError: in one sentence.
    """
    from sqlalchemy import make_url

    with storage_errors(url):
        if make_url(url).get_backend_name() != "sqlite":
            with database(url):
                pass


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn every error while a storage is opened into a SpaceError of one line."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - SQLAlchemy's, Optuna's, the database driver's, or a missing driver
        raise SpaceError(f"search: storage: '{public(url)}' cannot be used ({public_reason(error)})") from None


def settled(seeker: StudySearcher, done: Collection[str]) -> bool:
    """Return True if all trials of the studies, their best included, are in `done` (fingerprints)."""
    trials = [found.trial for found in seeker.asked] + [trial for _, trial in seeker.best()]
    return seeker.over and all(trial.fingerprint in done for trial in trials)


def answered(record: Mapping[str, Any], seeker: StudySearcher) -> dict[str, Any]:
    """Return the plan's record with the trials of the search so far, and its best settings as cells of the grid."""
    best = seeker.best()
    asked = list(seeker.asked)
    cells = [cell for cell, _ in best] + [found.cell for found in asked]
    trials = {trial.fingerprint: trial for trial in ([trial for _, trial in best] + [found.trial for found in asked])}
    search = record.get("search", {}) | ({"all_tried": list(seeker.exhausted)} if seeker.exhausted else {})
    return {
        **record,
        "search": search,
        "cells": [*record["cells"], *(cell.model_dump(mode="json") for cell in cells)],
        "trials": {**record["trials"], **{key: trial.model_dump(mode="json") for key, trial in trials.items()}},
    }


def end_of_search(seeker: StudySearcher) -> str:
    """Return a sentence for the user if studies have no more settings to try; "" if none has come to that."""
    found, total = len(seeker.exhausted), len(seeker.studies)
    which = "the study has" if total == 1 else f"{'all' if found == total else found} of {total} studies have"
    return f"search: {which} tried every setting there is, so further trials would only repeat results" if found else ""


def take_up_seeds(plan: Plan, book: ExperimentRuns, records: Records) -> SeedsUntilDecided | None:
    """Return the further seeds of a plan as far as results have led them; None if its seeds are fixed."""
    if plan.seeds is None:
        return None
    away = {t.fingerprint for t in (*plan.trials, *plan.seeds.trials)} - book.finished
    records.refresh(away)  # one request for all: an object store is listed each time
    known = {fingerprint: book.runs[fingerprint].metrics for fingerprint in book.finished}
    known |= {fp: _last_values(records, fp) for fp in away if how_it_ended(records.folder / fp) == "finished"}
    return SeedsUntilDecided(plan, known, _results(book, records))


def _results(book: ExperimentRuns, records: Records) -> Callable[[str], Result | None]:
    def result(fingerprint: str) -> Result | None:
        """Return the last value of each metric, from MLflow or else the trial's event log; None if not finished."""
        run = book.runs.get(fingerprint)
        if run is not None and run.status == "FINISHED" and run.metrics:
            return run.metrics
        if how_it_ended(records.folder / fingerprint) is None:
            records.refresh([fingerprint])
        if how_it_ended(records.folder / fingerprint) != "finished":
            return None
        return _last_values(records, fingerprint)

    return result


def _last_values(records: Records, fingerprint: str) -> dict[str, float]:
    last: dict[str, float] = {}
    for event, _ in read(records.folder / fingerprint):
        last |= event.get("metrics", {})
    return last
