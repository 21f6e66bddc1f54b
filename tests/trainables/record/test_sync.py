"""Attempts at one trial on an object store, a real S3 server: the newest wins, and none loses what was pushed."""

from __future__ import annotations

import pytest
from filelock import FileLock

from search_spaces import SpaceError, Trial
from tests.trainables.s3 import s3
from trainables.context import Place
from trainables.record import checkpoint, sync
from trainables.record.event_log import FILE, EventLog, ended, read
from trainables.record.object_store import Bucket, newest, require_writable, shown
from trainables.record.sync import Mirror, SupersededError
from trainables.run import run


@pytest.fixture(scope="module")
def server():
    with s3() as uri:
        yield uri


@pytest.fixture
def uri(server, tmp_path):
    return server.replace("some/where", f"some/{tmp_path.name}")


@pytest.fixture
def attempt(uri, tmp_path):
    """Begins an attempt at one trial on a node of its own."""

    def begin(node):
        folder = tmp_path / node / "trial"
        folder.mkdir(parents=True)
        copy = Mirror(uri, folder)
        copy.pull()
        return copy, folder

    return begin


def epoch(folder, number):
    outbox = EventLog(folder)
    outbox.metrics({"train/loss": 1 / number}, number)
    outbox.close()
    checkpoint.save(folder / "checkpoint.pt", {"epoch": number})


def steps(folder):
    return [event["step"] for event, _ in read(folder)]


def test_the_next_attempt_begins_where_the_last_push_stands(attempt, uri):
    first, folder = attempt("a")
    (folder / "masks.safetensors").write_bytes(b"masks")
    (folder / ".writer.lock").write_bytes(b"")
    for number in (1, 2, 3):
        epoch(folder, number)
        first.push()
    epoch(folder, 4)  # and dies before the push
    _, other = attempt("b")
    assert steps(other) == [1, 2, 3]
    assert {path.name for path in other.iterdir()} == {FILE, "masks.safetensors", "checkpoint.2.pt", "checkpoint.3.pt"}
    assert len(Bucket(uri).attempts("trial")) == 1  # the one before is removed once all of it is copied


def test_an_attempt_that_was_given_up_for_lost_stops_and_overwrites_nothing(attempt, uri):
    zombie, folder = attempt("a")
    epoch(folder, 1)
    zombie.push()
    successor, other = attempt("b")
    epoch(other, 2)
    successor.push()
    epoch(folder, 2)
    for write in (zombie.push, zombie.finish):
        with pytest.raises(SupersededError, match="another process has taken it over"):
            write()
    _, third = attempt("c")
    assert (third / FILE).read_bytes() == (other / FILE).read_bytes()


def test_an_attempt_that_died_before_it_recorded_anything_costs_nothing(attempt):
    first, folder = attempt("a")
    epoch(folder, 1)
    first.push()
    bucket = first._bucket
    bucket.put(b"", "trial", "000002-dead", "claim")
    bucket.put(b"masks", "trial", "000002-dead", "masks.safetensors")
    assert newest(bucket.attempts("trial")) == first._attempt
    with pytest.raises(SupersededError):
        first.push()
    third, other = attempt("c")
    assert third._attempt.startswith("000003-")
    assert steps(other) == [1]


def test_a_trial_that_another_process_takes_over_has_not_failed(uri, tmp_path):
    trial = Trial(dataset="digits", architecture="mlp", epochs=3)
    place = Place(tmp_path / "a", tmp_path / "data", mirror=uri, save_seconds=0)
    other = Mirror(uri, tmp_path / "b" / trial.fingerprint)
    asked = []

    def stop():
        asked.append(None)
        if len(asked) == 2:  # after the first epoch
            other.pull()
        return False

    assert run(trial, place, stop).end == "superseded"
    stored = Bucket(uri).attempts(trial.fingerprint)
    assert list(stored) == [other._attempt]
    assert ended(tmp_path / "b" / trial.fingerprint) is None


def test_a_store_that_is_away_does_not_stop_training_and_gets_all_later(attempt, monkeypatch):
    copy, folder = attempt("a")
    epoch(folder, 1)
    put, away = Bucket.put, [True]

    def refuse(self, *args):
        if away:
            raise OSError("AWS Error NETWORK_CONNECTION")
        put(self, *args)

    monkeypatch.setattr(Bucket, "put", refuse)
    copy.push()
    copy.push_soon()  # too soon: the store is not even asked
    monkeypatch.setattr(sync.time, "sleep", lambda seconds: away.clear())
    copy.finish()
    assert not (folder / FILE).exists()  # the node's disk is free
    _, other = attempt("b")
    assert steps(other) == [1]


def test_a_store_that_stays_away_is_an_error_after_all(attempt, monkeypatch):
    copy, folder = attempt("a")
    epoch(folder, 1)

    def refuse(self, *args):
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(Bucket, "put", refuse)
    monkeypatch.setattr(sync, "PATIENCE_SECONDS", 0)
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        copy.finish()
    assert steps(folder) == [1]


def test_what_cannot_be_written_is_one_line(uri, tmp_path):
    require_writable(uri)
    assert Bucket(uri).trials() == {}
    with pytest.raises(SpaceError, match="NO_SUCH_BUCKET"):
        require_writable(uri.replace("s3://bucket", "s3://nobody"))
    with pytest.raises(
        SpaceError, match=r"'ftp://there/x' cannot be used .this kind of storage is unknown; give a path"
    ):
        require_writable("ftp://there/x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpaceError, match="cannot be used"):
        require_writable(str(tmp_path / "file" / "folder"))


def test_what_killed_processes_left_on_a_node_is_swept_up(tmp_path):
    for name, end in (("killed", None), ("running", None), ("stage", "finished")):
        (tmp_path / name).mkdir()
        epoch(tmp_path / name, 1)
        if end:
            outbox = EventLog(tmp_path / name)
            outbox.end(end)
            outbox.close()
    with FileLock(tmp_path / "running" / ".writer.lock"):
        sync.sweep_up(tmp_path)
    left = {file.parent.name for file in tmp_path.glob(f"*/{FILE}")}
    assert left == {"running", "stage"}  # other trials on this node start from the weights of a stage
    assert not list(tmp_path.glob("killed/checkpoint*"))


def test_keys_are_not_shown():
    assert shown("s3://key:secret@bucket/path?endpoint_override=x") == "s3://bucket/path"
