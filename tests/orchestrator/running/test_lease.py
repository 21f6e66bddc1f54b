"""Two drivers of one experiment: the second is refused; one that was taken for dead stops when it sees the other."""

from __future__ import annotations

import errno
import time

import pytest
from filelock import FileLock

from orchestrator.live.interrupt import Stop
from orchestrator.planning.plan import plan
from orchestrator.running import lease
from orchestrator.running.execute import _expect_a_kill
from orchestrator.running.lease import TAG, Lease, sole_in_folder
from orchestrator.sweep import main
from orchestrator.tracking.experiment import create, existing
from search_spaces import SpaceError, load
from trainables import run

GRID = ["digits", "--local", "--set", "architecture=mlp", "--set", "pruner=random", "--set", "compression=4"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def book(store, tmp_path):
    return create(store, tmp_path.name, tmp_path / "b" / "artifacts")


def tag(book):
    return book.client.get_experiment(book.experiment_id).tags.get(TAG)


def test_a_second_sweep_is_refused_in_one_line_and_changes_nothing(store, book, tmp_path, capfd):
    with Lease(tmp_path / "a", Stop(), print) as first:
        first.claim(book)
        where = ["--output", str(tmp_path / "b"), "--tracking-uri", store, "--experiment", book.experiment]
        assert main([*GRID, "--set", "epochs=1", *where]) == 2
        assert not book.client.search_runs([book.experiment_id])
    _, err = capfd.readouterr()
    assert f"--experiment: another sweep writes to '{book.experiment}' (" in err
    assert len(err.strip().splitlines()) == 1
    assert not tag(book)


def left_behind(book, folder):
    """What a driver that was killed leaves."""
    dead = Lease(folder, Stop(), print)
    dead._renew(book)
    return dead


def test_a_dead_driver_is_waited_for_only_where_nobody_has_its_folder(book, tmp_path, monkeypatch):
    left_behind(book, tmp_path / "a")
    told = []
    with Lease(tmp_path / "a", Stop(), told.append) as again:
        again.claim(book)
    assert not told
    left_behind(book, tmp_path / "a")
    monkeypatch.setattr(lease, "SILENT_SECONDS", 0.3)
    with Lease(tmp_path / "b", Stop(), told.append) as other:
        other.claim(book)
        assert str(tmp_path / "b") in tag(book)
    assert str(tmp_path / "a") in told[0]


def test_one_that_was_asked_to_end_is_waited_for_seconds_only(book, tmp_path, monkeypatch):
    dead = left_behind(book, tmp_path / "a")
    dead._book = book
    dead.leave()
    monkeypatch.setattr(lease, "SILENT_SECONDS", 10**6)
    monkeypatch.setattr(lease, "LEAVING_SILENT_SECONDS", 0.3)
    told = []
    with Lease(tmp_path / "b", Stop(), told.append) as other:
        other.claim(book)
        assert str(tmp_path / "b") in tag(book)
    assert told


def test_one_that_was_asked_to_end_and_still_lives_is_not_replaced(book, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEAVING_SILENT_SECONDS", 60)
    with Lease(tmp_path / "a", Stop(), print) as leaving, Lease(tmp_path / "b", Stop(), print) as other:
        leaving.claim(book)
        leaving.leave()
        with pytest.raises(SpaceError, match="another sweep writes to"):
            other.claim(book)


def test_the_first_signal_marks_the_sweep_as_killed_at_once(book, tmp_path):
    parent = book.client.create_run(book.experiment_id).info.run_id
    with Lease(tmp_path / "a", Stop(), print) as sole:
        sole.claim(book)
        _expect_a_kill(sole, book, parent)
        assert " leaving-" in tag(book)
    assert book.client.get_run(parent).info.status == "KILLED"
    assert not tag(book)


def test_one_that_was_taken_for_dead_stops_and_says_why(book, tmp_path):
    stop = Stop()
    with Lease(tmp_path / "a", stop, print) as sleeper:
        sleeper.claim(book)
        other = left_behind(book, tmp_path / "b")
        deadline = time.monotonic() + 60
        while not stop():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert stop.reason.startswith(f"Another sweep has taken over '{book.experiment}' (")
    assert tag(book).startswith(other._owner)  # and leaves it what it has taken


@pytest.mark.slow
def test_a_trial_that_another_process_computes_did_not_fail(tmp_path, monkeypatch, capsys):
    """Sweeps of two experiments may share a storage: what one computes, the other takes when it is there."""
    monkeypatch.setattr(run, "WRITER_SECONDS", 0)
    command = [*GRID, "--set", "epochs=1", "--output", str(tmp_path)]
    (trial,) = plan(load("digits", [word for word in GRID if "=" in word] + ["epochs=1"])).trials
    folder = tmp_path / "checkpoints" / trial.fingerprint
    folder.mkdir(parents=True)

    def statuses():
        ledger = existing(f"sqlite:///{tmp_path / 'mlflow.db'}", "digits")
        return {found.status for found in ledger.runs.values()}

    with FileLock(folder / ".writer.lock"):
        assert main(command) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "another process computes it" in told
    assert "0 of 1 trials finished, 1 not done" in told
    assert statuses() == {"KILLED"}
    assert main(command) == 0
    assert statuses() == {"FINISHED"}


def test_a_folder_has_one_sweep(tmp_path):
    with (
        lease.sole_in_folder(tmp_path),
        pytest.raises(SpaceError, match="is running on"),
        lease.sole_in_folder(tmp_path),
    ):
        pass


@pytest.mark.parametrize("kind", ["lockf", "flock"])
def test_a_file_system_without_locks_is_refused_and_nothing_is_left(kind, tmp_path, monkeypatch):
    def without_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lease, kind, without_locks)
    with pytest.raises(SpaceError, match="cannot be locked"), sole_in_folder(tmp_path / "a" / "b"):
        pytest.fail("it began")
    assert not list(tmp_path.iterdir())
