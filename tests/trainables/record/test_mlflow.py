"""From outbox to MLflow: everything once, however often it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from trainables.record.event_log import EventLog
from trainables.record.mlflow import BATCH, deliver, is_away, refused_files, upload_client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    client = upload_client(f"sqlite:///{folder / 'mlflow.db'}")
    client.create_experiment("trials", artifact_location=(folder / "artifacts").as_uri())
    return client


@pytest.fixture
def run_id(client):
    return client.create_run(client.get_experiment_by_name("trials").experiment_id).info.run_id


@pytest.fixture
def outbox(tmp_path):
    outbox = EventLog(tmp_path)
    yield outbox
    outbox.close()


def points(client, run_id, key):
    return [(metric.step, metric.value, metric.timestamp) for metric in client.get_metric_history(run_id, key)]


def test_everything_arrives(client, run_id, outbox, tmp_path):
    outbox.params({"lr": "0.1"})
    outbox.tags({"collapsed": "false"})
    for epoch in (1, 2):
        outbox.metrics({"train/loss": 1 / epoch}, epoch)
    (tmp_path / "layers.json").write_text("{}")
    outbox.artifact("layers.json")
    outbox.end("finished")
    assert len(deliver(client, run_id, tmp_path)) == 6
    run = client.get_run(run_id)
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["collapsed"] == "false"
    assert [point[:2] for point in points(client, run_id, "train/loss")] == [(1, 1.0), (2, 0.5)]
    assert [artifact.path for artifact in client.list_artifacts(run_id)] == ["layers.json"]


def test_only_what_is_new_is_sent(client, run_id, outbox, tmp_path):
    outbox.metrics({"a": 1.0}, 1)
    assert len(deliver(client, run_id, tmp_path)) == 1
    assert deliver(client, run_id, tmp_path) == []
    outbox.metrics({"a": 2.0}, 2)
    assert [event["step"] for event in deliver(client, run_id, tmp_path)] == [2]


def test_sent_again_after_a_crash_nothing_doubles(client, run_id, outbox, tmp_path):
    outbox.params({"lr": "0.1"})
    outbox.metrics({"a": 1.0}, 1)
    deliver(client, run_id, tmp_path)
    (tmp_path / "uploaded.json").unlink()  # as if killed between the last request and the mark
    deliver(client, run_id, tmp_path)
    assert len(points(client, run_id, "a")) == 1


def test_another_run_gets_everything(client, run_id, outbox, tmp_path):
    outbox.metrics({"a": 1.0}, 1)
    deliver(client, run_id, tmp_path)
    other = client.create_run(client.get_run(run_id).info.experiment_id).info.run_id
    deliver(client, other, tmp_path)
    assert points(client, other, "a") == points(client, run_id, "a")


def test_a_long_backlog_is_sent_in_pieces(client, run_id, outbox, tmp_path):
    for step in range(BATCH + 5):
        outbox.metrics({"a": 1.0}, step)
    deliver(client, run_id, tmp_path)
    assert len(points(client, run_id, "a")) == BATCH + 5


def test_what_cannot_be_sent_stays(run_id, client, outbox, tmp_path):
    outbox.metrics({"a": 1.0}, 1)
    nowhere = upload_client("http://127.0.0.1:9")
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        deliver(nowhere, run_id, tmp_path)
    assert len(deliver(client, run_id, tmp_path)) == 1


def test_pictures_are_also_where_runs_are_compared(client, run_id, outbox, tmp_path):
    from PIL import Image

    Image.new("RGBA", (40, 20)).save(tmp_path / "histograms.png")
    outbox.artifact("histograms.png")
    deliver(client, run_id, tmp_path)
    (tmp_path / "uploaded.json").unlink()  # as if the process had died before it was written
    deliver(client, run_id, tmp_path)
    names = [Path(artifact.path).name for artifact in client.list_artifacts(run_id, "images")]
    assert len(names) == 2
    assert all(name.startswith("histograms+step+0+timestamp+") for name in names)
    assert {name.rpartition("+")[2] for name in names} == {"compressed.webp", f"{run_id}.png"}
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_a_damaged_picture_holds_up_nothing(client, run_id, outbox, tmp_path):
    (tmp_path / "histograms.png").write_bytes(b"torn")
    outbox.artifact("histograms.png")
    assert len(deliver(client, run_id, tmp_path)) == 1
    assert [artifact.path for artifact in client.list_artifacts(run_id)] == ["histograms.png"]


def test_a_file_that_is_too_large_for_the_server_holds_up_nothing(client, run_id, outbox, tmp_path, monkeypatch):
    response = requests.Response()
    response.status_code = 413
    send = client.log_artifact

    def limited(run_id, path):
        if Path(path).stat().st_size > 1000:
            raise requests.HTTPError("413 Client Error", response=response)
        send(run_id, path)

    monkeypatch.setattr(client, "log_artifact", limited)
    for name, size in (("masks.safetensors", 1001), ("layers.json", 1000)):
        (tmp_path / name).write_bytes(b"x" * size)
        outbox.artifact(name)
    outbox.metrics({"final/top1": 0.5})
    outbox.end("finished")
    deliver(client, run_id, tmp_path)
    said = "masks.safetensors: the server accepts no file of 1,001 bytes"
    assert refused_files(tmp_path) == said
    run = client.get_run(run_id)
    assert run.data.tags["not_uploaded"] == said
    assert run.data.metrics == {"final/top1": 0.5}
    assert [artifact.path for artifact in client.list_artifacts(run_id)] == ["layers.json"]


@pytest.mark.parametrize(("status", "away"), [(None, True), (503, True), (429, True), (413, False), (403, False)])
def test_a_server_that_refuses_is_not_away(status, away):
    response = requests.Response()
    response.status_code = status
    error = requests.ConnectionError() if status is None else requests.HTTPError(response=response)
    assert is_away(error) is away
