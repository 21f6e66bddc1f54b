"""Upload a trial's event log to its MLflow run: in order, in batches, and again until it succeeds."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainables.record.event_log import Snapshot, size, snapshot
from trainables.record.files import write_atomically

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000  # metrics in one request; MLflow accepts no more
MARK = "uploaded.json"
PICTURES = ("histograms.png",)  # logged as images too, so that they can be compared between runs
TOO_LARGE, TOO_MANY = 413, 429  # HTTP statuses
REFUSED_TAG = "not_uploaded"  # of a run: the files that the server refused for their size
DRIVERS = {  # of a kind of database: names in addresses -> modules, the first one first
    "postgresql": {"psycopg2": "psycopg2", "psycopg": "psycopg"},
    "mysql": {"mysqldb": "MySQLdb", "pymysql": "pymysql"},
}
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # seconds that MLflow waits for an answer; it reads this before each request
SLOW_SECONDS = 60  # for servers that are reached and answer late; too long for those that are away
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # users need not see how MLflow creates a store
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    TIMEOUT: "10",
}


def with_driver(uri: str) -> str:
    """Return the address of a PostgreSQL or MySQL database with a driver that is installed, unless it names one.

    SQLAlchemy's own choice for `postgresql://` is another one in each of its versions.
    """
    for scheme, drivers in DRIVERS.items():
        if uri.startswith(f"{scheme}://"):
            found = next((name for name, module in drivers.items() if find_spec(module)), next(iter(drivers)))
            return f"{scheme}+{found}{uri.removeprefix(scheme)}"
    return uri


def set_environment() -> None:
    """Set the variables that MLflow reads when it is imported, unless the user has set them."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def upload_client(tracking_uri: str) -> MlflowClient:
    """Return a client that gives up quickly: the event log keeps undelivered events, so waiting gains nothing."""
    set_environment()
    from mlflow import MlflowClient

    # It prints each error of a database with its SQL and two tracebacks, and then raises it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=with_driver(tracking_uri))


def allow_slow_answers(error: BaseException) -> None:
    """If `error` says that a server was reached and did not answer in time, wait longer for it from now on."""
    if "Read timed out" in str(error) and float(os.environ.get(TIMEOUT, SLOW_SECONDS)) < SLOW_SECONDS:
        os.environ[TIMEOUT] = str(SLOW_SECONDS)


def reason_of(error: BaseException) -> str:
    """Return why MLflow or its database refused: the first line, without SQL; a traceback may follow."""
    said = re.sub(r"^\(raised as a result of [^)]*\)\s*", "", str(error).strip()).partition("\n")[0]
    said = re.sub(r"^\([\w.]+Error\) ", "", said.partition(" [SQL: ")[0]).strip()  # SQLAlchemy names the driver's class
    return "the disk is full" if said == "database or disk is full" else said


class LateFileError(Exception):
    """Error: this node does not see all of a file yet that another node has written; it is sent later."""


def deliver(client: MlflowClient, run_id: str, folder: Path, record: Snapshot | None = None) -> list[dict[str, Any]]:
    """Send the events of `record` since the last delivery to the run `run_id`, and return them.

    `record` is what was read of the event log in `folder`; by default it is read now. Delivering twice changes
    nothing: every point carries the time at which it was recorded, which is part of MLflow's key. So a crash between
    the last request and the mark that records it costs only a repetition. A point that two attempts recorded, because
    the second did not see the first one's yet, is sent once.

    Raises:
        LateFileError: if an artifact is not as long as recorded; nothing is sent then.
        Exception: whatever the client raises; undelivered events stay for the next call.
    """
    from mlflow.entities import Metric, Param, RunTag

    record = snapshot(folder) if record is None else record
    offset = _read_mark(folder)["offset"] if delivers_to(folder, run_id) else 0
    events = [event for event, end in record.events if end > offset]
    if not events:
        return []
    files = {event["artifact"]: event for event in events if "artifact" in event}
    for event in files.values():
        _require_whole(folder / event["artifact"], event)
    if not delivers_to(folder, run_id):
        _mark(folder, run_id, 0)  # before its first point: a run that has points but no mark has them from elsewhere
    sent = {(key, event["step"]) for event, end in record.events if end <= offset for key in event.get("metrics", {})}
    points = {
        (key, event["step"]): Metric(key, value, event["time"], event["step"])
        for event in reversed(events)  # so that the first of two equal ones is left
        for key, value in event.get("metrics", {}).items()
        if (key, event["step"]) not in sent
    }
    metrics = list(reversed(points.values()))
    params = {key: value for event in events for key, value in event.get("params", {}).items()}
    tags = {key: value for event in events for key, value in event.get("tags", {}).items()}
    if params or tags:
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    refused = refused_files(folder) if offset else ""
    for name, event in files.items():
        with TemporaryDirectory() as copied:
            copy = Path(copied) / name
            shutil.copyfile(folder / name, copy)
            _require_whole(copy, event)  # the very bytes that are sent, not those of an earlier look
            try:
                client.log_artifact(run_id, str(copy))
                if name in PICTURES:
                    _show(client, run_id, copy, event["time"])
            except Exception as error:
                if http_status(error) != TOO_LARGE:
                    raise
                # It stays in the trial's folder. The rest of the run must not wait for what will never be accepted.
                reason = f"{name}: the server accepts no file of {copy.stat().st_size:,} bytes"
                refused = "; ".join(filter(None, (refused, reason)))
                client.set_tag(run_id, REFUSED_TAG, refused)
    _mark(folder, run_id, record.events[-1][1], refused)
    return events


def deliver_all(client: MlflowClient, run_id: str, folder: Path, record: Snapshot) -> bool:
    """Deliver a finished `record`, then compare MLflow with it; send all of it once more if MLflow lacks anything.

    Returns whether anything was sent. MLflow may have less than the mark of the last delivery says: if it was restored
    from a backup, for example.

    Raises:
        RuntimeError: if MLflow still lacks a metric.
        Exception: as `deliver`.
    """
    sent = bool(deliver(client, run_id, folder, record))
    if missing_metrics(client.get_run(run_id).data.metrics, record):
        sent = True
        _mark(folder, run_id, 0)
        deliver(client, run_id, folder, record)
        if lacks := missing_metrics(client.get_run(run_id).data.metrics, record):
            raise RuntimeError(f"MLflow does not show {lacks[0]} as it was recorded, though it was sent twice")
    return sent


def is_away(error: Exception) -> bool:
    """Return True if `error` says that the server is away or cannot work now; False if it refused the request."""
    status = http_status(error)
    return isinstance(error, OSError) if status is None else status >= 500 or status == TOO_MANY


def http_status(error: Exception) -> int | None:
    """Return the HTTP status that a server answered with; None if it did not answer."""
    of_mlflow = getattr(error, "get_http_status_code", None)
    if of_mlflow is not None:
        return int(of_mlflow())
    status = getattr(getattr(error, "response", None), "status_code", None)  # of requests' errors
    return None if status is None else int(status)


def missing_metrics(metrics: Mapping[str, float], record: Snapshot) -> list[str]:
    """Return the metrics whose last value in MLflow, given as `metrics`, is missing or not that of `record`."""
    return [key for key, value in record.metrics.items() if metrics.get(key) != value]


def all_delivered(folder: Path, run_id: str) -> bool:
    """Return True if the last delivery to that run reached the end of the event log in `folder`, as seen now."""
    return delivers_to(folder, run_id) and bool(_read_mark(folder)["offset"] >= size(folder))


def _require_whole(file: Path, event: Mapping[str, Any]) -> None:
    there = file.stat().st_size if file.exists() else None
    if there is None or there != event.get("bytes", there):  # older records do not say how long a file is
        seen = "is not there" if there is None else f"has {there} of {event['bytes']} bytes"
        raise LateFileError(f"{file.name} {seen}, as seen from this node")


def delivers_to(folder: Path, run_id: str) -> bool:
    """Return True if the last delivery from the event log in `folder` went to that run."""
    return bool(_read_mark(folder)["run_id"] == run_id)


def _show(client: MlflowClient, run_id: str, file: Path, when: int) -> None:
    """Log a picture again in the format of `log_image`, which MLflow's chart of a picture for each run needs.

    Not with `log_image` itself, which chooses a new name each time: delivered twice, the picture would be there twice.
    """
    from PIL import Image

    name = f"{file.stem}+step+0+timestamp+{when}+{run_id}"
    with TemporaryDirectory() as folder:
        try:
            with Image.open(file) as picture:
                picture.save(Path(folder) / f"{name}.png")
                picture.convert("RGB").save(Path(folder) / f"{name}+compressed.webp")
        except OSError:  # a picture that cannot be read gets no second copy
            return
        client.log_artifacts(run_id, folder, "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")


def refused_files(folder: Path) -> str:
    """Return which files of `folder` MLflow has refused for their size, and why; "" if none."""
    return str(_read_mark(folder).get("refused", ""))


def _mark(folder: Path, run_id: str, offset: int, refused: str = "") -> None:
    mark = json.dumps({"run_id": run_id, "offset": offset} | ({"refused": refused} if refused else {}))
    write_atomically(folder / MARK, lambda path: path.write_text(mark, encoding="utf-8"))


def _read_mark(folder: Path) -> dict[str, Any]:
    """Return the run of the last delivery, and how many bytes of the event log it has."""
    file = folder / MARK
    mark: dict[str, Any] = {"run_id": "", "offset": 0}
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else mark
