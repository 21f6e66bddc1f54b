"""The studies of a plan where they stand: taken up from their storage, written into the plan's record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import how_it_ended
from orchestrator.planning.study_plan import Searching
from orchestrator.results.store import public
from orchestrator.search.optuna_study import Result, Seeker
from orchestrator.tracking.experiment import Ledger
from search_spaces import SpaceError
from trainables.record.event_log import read


def take_up(search: Searching, output: Path, book: Ledger, records: Records) -> Seeker:
    """The studies of `search`, going on where an earlier driver left them.

    Raises:
        SpaceError: if their storage cannot be used.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    wanted = search.grid.space.search
    url = (wanted.storage if wanted else "") or f"sqlite:///{(output / 'optuna.db').resolve()}"
    try:
        storage = RDBStorage(url)
    except (ImportError, StorageInternalError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpaceError(f"search: storage: '{public(url)}' cannot be used ({reason})") from None
    return Seeker(search.grid, search.studies, storage, _results(book, records))


def settled(seeker: Seeker, done: Collection[str]) -> bool:
    """Whether all that the studies ask for is done (fingerprints), their best included."""
    trials = [found.trial for found in seeker.asked] + [trial for _, trial in seeker.best()]
    return seeker.over and all(trial.fingerprint in done for trial in trials)


def answered(record: Mapping[str, Any], seeker: Seeker) -> dict[str, Any]:
    """The plan's record with what the search has asked for so far, and its best as cells of the grid."""
    best = seeker.best()
    asked = list(seeker.asked)
    cells = [cell for cell, _ in best] + [found.cell for found in asked]
    trials = {trial.fingerprint: trial for trial in ([trial for _, trial in best] + [found.trial for found in asked])}
    return {
        **record,
        "cells": [*record["cells"], *(cell.model_dump(mode="json") for cell in cells)],
        "trials": {**record["trials"], **{key: trial.model_dump(mode="json") for key, trial in trials.items()}},
    }


def _results(book: Ledger, records: Records) -> Callable[[str], Result | None]:
    def result(fingerprint: str) -> Result | None:
        """The last value of each metric: from MLflow if it has them, else from the trial's own record."""
        run = book.runs.get(fingerprint)
        if run is not None and run.status == "FINISHED" and run.metrics:
            return run.metrics
        if how_it_ended(records.folder / fingerprint) is None:
            records.refresh([fingerprint])
        if how_it_ended(records.folder / fingerprint) != "finished":
            return None
        last: dict[str, float] = {}
        for event, _ in read(records.folder / fingerprint):
            last |= event.get("metrics", {})
        return last

    return result
