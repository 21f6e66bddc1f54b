"""Bulk reader of what reports need on demand: JSON artifacts and metric histories of many runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrator.results.moved_store import beside_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

History = dict[int, float]  # step -> the last value logged for it
RUNS, POINTS = 100, 25_000  # most runs and points that a server returns for one bulk request
THREADS = 8  # a server answers several requests at once; a local file is not slowed down by it


@dataclass(frozen=True)
class Details:
    """Artifacts and histories of a report's runs, by run id; everything that was read is cached."""

    client: MlflowClient
    uris: Mapping[str, str]  # run id -> its artifact URI, known from the search: no further request
    _artifacts: dict[tuple[str, str], Any] = field(default_factory=dict)
    _histories: dict[tuple[str, str], History] = field(default_factory=dict)

    def artifact(self, run_id: str, path: str) -> Any:
        """Return a JSON artifact of a run, or None if it is missing."""
        return self.artifacts([run_id], path)[run_id]

    def artifacts(self, run_ids: Iterable[str], path: str) -> dict[str, Any]:
        """Return the same JSON artifact of many runs, fetched in parallel."""
        wanted = list(dict.fromkeys(run_ids))
        missing = [run_id for run_id in wanted if (run_id, path) not in self._artifacts]
        if missing:
            with ThreadPoolExecutor(THREADS) as pool:
                found = pool.map(lambda run_id: read_json(self.client, self.uris[run_id], path), missing)
                self._artifacts.update(zip(((run_id, path) for run_id in missing), found, strict=True))
        return {run_id: self._artifacts[run_id, path] for run_id in wanted}

    def files(self, run_ids: Iterable[str], path: str) -> Iterator[tuple[str, bytes]]:
        """Yield the run id and the content of the same file of many runs, fetched in parallel and not kept.

        Runs without such a file are left out.
        """
        wanted = list(dict.fromkeys(run_ids))
        with ThreadPoolExecutor(THREADS) as pool:
            contents = pool.map(lambda run_id: read_bytes(self.client, self.uris[run_id], path), wanted)
            yield from ((run_id, content) for run_id, content in zip(wanted, contents, strict=True) if content)

    def histories(self, run_ids: Iterable[str], key: str) -> dict[str, History]:
        """Return all points of a metric for many runs, with one request per hundred runs."""
        wanted = list(dict.fromkeys(run_ids))
        missing = [run_id for run_id in wanted if (run_id, key) not in self._histories]
        for run_id in missing:
            self._histories[run_id, key] = {}
        for start in range(0, len(missing), RUNS):
            for run_id, step, value in _points(self.client, missing[start : start + RUNS], key):
                self._histories[run_id, key][step] = value
        return {run_id: self._histories[run_id, key] for run_id in wanted}


def read_json(client: MlflowClient, artifact_uri: str, path: str) -> Any:
    """Return a JSON file below an artifact URI; None if it is missing or incomplete because its writer was killed."""
    content = read_bytes(client, artifact_uri, path)
    with suppress(ValueError):
        return None if content is None else json.loads(content)
    return None


def read_bytes(client: MlflowClient, artifact_uri: str, path: str) -> bytes | None:
    """Return the content of a file below an artifact URI, or None if there is none."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder_here = beside_store(client.tracking_uri, artifact_uri)
    if folder_here is not None:  # takes a tenth of the time, and most stores are on this machine
        file = folder_here / path
        return file.read_bytes() if file.is_file() else None
    with TemporaryDirectory() as folder:
        local = Path(folder) / Path(path).name
        try:
            # `download_artifacts` makes two more requests per file, to find out whether it is a folder.
            repository = get_artifact_repository(artifact_uri, tracking_uri=client.tracking_uri)
            repository._download_file(path, str(local))  # type: ignore[no-untyped-call]
        except (MlflowException, OSError):
            return None
        return local.read_bytes() if local.is_file() else None


def _points(client: MlflowClient, run_ids: Sequence[str], key: str) -> Iterator[tuple[str, int, float]]:
    """Yield (run id, step, value) in the order of logging."""
    store = client._tracking_client.store  # the public client requests one run at a time
    if hasattr(store, "get_metric_history_bulk"):  # a database has no limit of its own, only the one in the call
        for found in store.get_metric_history_bulk(list(run_ids), key, 10**9):
            point = found.to_dict()
            yield point["run_id"], point["step"], point["value"]
        return
    found = _request(store, run_ids, key)
    if found is None or (len(found) >= POINTS and len(run_ids) == 1):
        for run_id in run_ids:  # a server without the bulk request, or one run with more points than an answer holds
            for metric in client.get_metric_history(run_id, key):
                yield run_id, metric.step, metric.value
    elif len(found) >= POINTS:  # cut off: request fewer runs at once
        half = len(run_ids) // 2
        yield from _points(client, run_ids[:half], key)
        yield from _points(client, run_ids[half:], key)
    else:
        for point in found:
            yield point["run_id"], point["step"], point["value"]


def _request(store: Any, run_ids: Sequence[str], key: str) -> list[dict[str, Any]] | None:
    """Send the bulk request that MLflow's UI uses for its charts; return None if the server does not know it."""
    from mlflow.utils.rest_utils import http_request

    answer = http_request(  # type: ignore[no-untyped-call]
        host_creds=store.get_host_creds(),
        endpoint="/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        method="GET",
        params={"run_id": list(run_ids), "metric_key": key, "max_results": POINTS},
    )
    return list(answer.json()["metrics"]) if answer.status_code == 200 else None
