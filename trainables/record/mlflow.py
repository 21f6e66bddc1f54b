"""From the outbox of a trial to its MLflow run: in order, in batches, as often as it takes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainables.record.event_log import read
from trainables.record.files import write_atomically

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000  # metrics in one request; MLflow takes no more
MARK = "uploaded.json"
PICTURES = ("histograms.png",)  # to be compared between runs
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # the steps of making a store are no news to users
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def connect(tracking_uri: str) -> MlflowClient:
    """A client that gives up quickly: the outbox keeps what could not be delivered, so waiting gains nothing."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def deliver(client: MlflowClient, run_id: str, folder: Path) -> list[dict[str, Any]]:
    """Send to `run_id` what the outbox in `folder` holds beyond the last delivery, and return those events.

    Delivering twice changes nothing: every point carries the time at which it was recorded, which is part of
    MLflow's key. So a crash between the last request and the mark that remembers it costs only a repetition.

    Raises:
        Exception: whatever the client raises; what was not delivered stays for the next call.
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
        _mark(folder, run_id, 0)  # before its first point: one that has points without a mark has them from elsewhere
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
    """Whether what that run has came from the outbox in `folder`."""
    return bool(_read_mark(folder)["run_id"] == run_id)


def _show(client: MlflowClient, run_id: str, file: Path, when: int) -> None:
    """Log a picture once more, as `log_image` would: there alone looks the chart that has a picture for each run.

    Not by `log_image` itself, which gives it another name each time: delivered twice, it would be there twice.
    """
    from PIL import Image

    name = f"{file.stem}+step+0+timestamp+{when}+{run_id}"
    with TemporaryDirectory() as folder:
        try:
            with Image.open(file) as picture:
                picture.save(Path(folder) / f"{name}.png")
                picture.convert("RGB").save(Path(folder) / f"{name}+compressed.webp")
        except OSError:  # a picture that cannot be read has no second copy
            return
        client.log_artifacts(run_id, folder, "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")


def _mark(folder: Path, run_id: str, offset: int) -> None:
    mark = json.dumps({"run_id": run_id, "offset": offset})
    write_atomically(folder / MARK, lambda path: path.write_text(mark, encoding="utf-8"))


def _read_mark(folder: Path) -> dict[str, Any]:
    """The run of the last delivery, and how many bytes of the outbox it has."""
    file = folder / MARK
    mark: dict[str, Any] = {"run_id": "", "offset": 0}
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else mark
