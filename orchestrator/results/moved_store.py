"""Results folders that were moved or copied: MLflow records absolute paths, which then name the old place."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from orchestrator.results.store import sqlite_file

ARTIFACTS = "artifacts"  # the folder of a sweep's files, beside its store


def beside_store(tracking_uri: str, artifact_uri: str) -> Path | None:
    """Return the folder of a run's files on this machine; None if they are not on a disk.

    Files beside the store come first: the recorded folder may be that of the original of a copy.
    """
    recorded = _path(artifact_uri)
    store = sqlite_file(tracking_uri)
    if recorded is None or store is None:
        return recorded
    here = store.parent / ARTIFACTS / recorded.parent.name / recorded.name  # .../artifacts/<run>/artifacts
    return here if here.is_dir() else recorded


def follow_moved_store(tracking_uri: str) -> bool:
    """Record the folder beside a SQLite store as that of its files, if it was moved or copied; return True if it was.

    Only experiments whose files are beside the store are changed. Nothing else may write to the store meanwhile.
    """
    store = sqlite_file(tracking_uri)
    if store is None or not store.is_file() or not (store.parent / ARTIFACTS).is_dir():
        return False
    here = (store.parent / ARTIFACTS).resolve()
    moved = False
    with closing(sqlite3.connect(store)) as database, database:
        for experiment, location in database.execute(
            "SELECT experiment_id, artifact_location FROM experiments"
        ).fetchall():
            before = _path(location or "")
            if before is None or before.name != ARTIFACTS or before == here:
                continue
            runs = database.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment,)).fetchall()
            if not any((here / run).is_dir() for (run,) in runs):
                continue
            now = here.as_uri()
            database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, experiment))
            database.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (now, len(location) + 1, experiment, len(location) + 1, f"{location}/"),
            )
            moved = True
    return moved


def _path(uri: str) -> Path | None:
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
