"""Upload a trial's event log to its MLflow run: in order, in batches, and again until it succeeds."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainables.record.event_log import read
from trainables.record.files import write_atomically

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000  # metrics in one request; MLflow accepts no more
MARK = "uploaded.json"
PICTURES = ("histograms.png",)  # logged as images too, so that they can be compared between runs
DRIVERS = {  # of a kind of database: names in addresses -> modules, the first one first
    "postgresql": {"psycopg2": "psycopg2", "psycopg": "psycopg"},
    "mysql": {"mysqldb": "MySQLdb", "pymysql": "pymysql"},
}
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # users need not see how MLflow creates a store
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
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


def prepare() -> None:
    """Set the variables that MLflow reads when it is imported, unless the user has set them."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect(tracking_uri: str) -> MlflowClient:
    """Return a client that gives up quickly: the event log keeps undelivered events, so waiting gains nothing."""
    prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=with_driver(tracking_uri))


def deliver(client: MlflowClient, run_id: str, folder: Path) -> list[dict[str, Any]]:
    """Send the events since the last delivery from the event log in `folder` to the run `run_id`, and return them.

    Delivering twice changes nothing: every point carries the time at which it was recorded, which is part of
    MLflow's key. So a crash between the last request and the mark that records it costs only a repetition.

    Raises:
        Exception: whatever the client raises; undelivered events stay for the next call.
    """
    from mlflow.entities import Metric, Param, RunTag

    offset = _read_mark(folder)["offset"] if delivers_to(folder, run_id) else 0
    events = []
    end = offset
    for event, end in read(folder, offset):  # noqa: B007 - the last offset is wanted
        events.append(event)
    if not events:
        return []
    if not delivers_to(folder, run_id):
        _mark(folder, run_id, 0)  # before its first point: a run that has points but no mark has them from elsewhere
    metrics = [
        Metric(key, value, event["time"], event["step"])
        for event in events
        for key, value in event.get("metrics", {}).items()
    ]
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
    for name, when in {event["artifact"]: event["time"] for event in events if "artifact" in event}.items():
        client.log_artifact(run_id, str(folder / name))
        if name in PICTURES:
            _show(client, run_id, folder / name, when)
    _mark(folder, run_id, end)
    return events


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


def _mark(folder: Path, run_id: str, offset: int) -> None:
    mark = json.dumps({"run_id": run_id, "offset": offset})
    write_atomically(folder / MARK, lambda path: path.write_text(mark, encoding="utf-8"))


def _read_mark(folder: Path) -> dict[str, Any]:
    """Return the run of the last delivery, and how many bytes of the event log it has."""
    file = folder / MARK
    mark: dict[str, Any] = {"run_id": "", "offset": 0}
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else mark
