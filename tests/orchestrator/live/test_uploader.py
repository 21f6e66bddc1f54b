"""The watch: a server that is away costs nothing but time, and one bad run does not hold up the others."""

from __future__ import annotations

import time

import pytest

from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import Uploader
from orchestrator.tracking.experiment import create
from search_spaces import Trial
from trainables.record.event_log import EventLog

TRIALS = {t.fingerprint: t for t in (Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(3))}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return create(f"sqlite:///{folder / 'mlflow.db'}", "watched", folder / "artifacts")


def record(storage, fingerprint, end="finished", epochs=2):
    (storage / fingerprint).mkdir(parents=True)
    outbox = EventLog(storage / fingerprint)
    for epoch in range(1, epochs + 1):
        outbox.metrics({"train/loss": 1 / epoch}, epoch)
    if end:
        outbox.end(end)
    outbox.close()


class Flaky:
    """A client that fails for a while, or for ever on one run."""

    def __init__(self, client, failures=0, bad_run=None):
        self._client, self._failures, self._bad_run = client, failures, bad_run

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def guarded(*args, **kwargs):
            if name in ("log_batch", "create_run") and self._failures:
                self._failures -= 1
                raise ConnectionError("no answer")
            if name == "log_batch" and args[0] == self._bad_run:
                raise ValueError("this run is gone")
            return call(*args, **kwargs)

        return guarded


@pytest.fixture
def watched(ledger, tmp_path):
    """Starts watches and puts the ledger's client back."""
    client, ledger.runs = ledger.client, {}
    notices, events = [], []

    def start(flaky=None):
        ledger.client = flaky or client
        watch = Uploader(
            ledger, TRIALS, Records(tmp_path), "", lambda fp, event: events.append((fp, event)), notices.append
        )
        watch.start()
        return watch

    yield start, client, notices, events
    ledger.client = client


def test_statuses_follow_the_records(ledger, watched, tmp_path):
    start, client, _, events = watched
    finished, failed, stopped = TRIALS
    record(tmp_path, finished)
    record(tmp_path, failed, end="failed")
    record(tmp_path, stopped, end=None)
    watch = start()
    for fingerprint in TRIALS:
        watch.started(fingerprint)
        watch.ended(fingerprint)
    assert watch.close() == {}
    found = {fp: client.get_run(run.run_id).info.status for fp, run in ledger.runs.items()}
    assert found == {finished: "FINISHED", failed: "FAILED", stopped: "KILLED"}
    assert sum(fp == finished for fp, _ in events) == 3


def test_a_trial_whose_process_died_is_failed_and_says_so(ledger, watched, tmp_path):
    start, client, *_ = watched
    (fingerprint, *_) = TRIALS
    watch = start()
    watch.started(fingerprint)
    watch.ended(fingerprint, "the process died")
    assert watch.close() == {}
    run = client.get_run(ledger.runs[fingerprint].run_id)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "the process died")


def test_an_outage_delays_and_loses_nothing(ledger, watched, tmp_path):
    start, client, notices, _ = watched
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint)
    watch = start(Flaky(client, failures=2))
    watch.started(fingerprint)
    watch.ended(fingerprint)
    assert watch.close() == {}
    history = client.get_metric_history(ledger.runs[fingerprint].run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    assert len(notices) == 1
    assert "no answer" in notices[0]


def test_one_run_that_mlflow_never_takes_does_not_hold_up_the_others(ledger, watched, tmp_path):
    start, client, *_ = watched
    for fingerprint in TRIALS:
        record(tmp_path, fingerprint)
    bad, *good = TRIALS
    run_id = ledger.take_up(TRIALS[bad], "", "#000000", tmp_path / bad)
    watch = start(Flaky(client, bad_run=run_id))
    for fingerprint in TRIALS:
        watch.started(fingerprint)
        watch.ended(fingerprint)
    assert watch.close(seconds=4) == {bad: "this run is gone"}
    assert {ledger.runs[fp].status for fp in good} == {"FINISHED"}


def test_closing_does_not_wait_for_ever(watched, tmp_path):
    start, client, *_ = watched
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint)
    watch = start(Flaky(client, failures=10**6))
    watch.started(fingerprint)
    watch.ended(fingerprint)
    before = time.monotonic()
    assert watch.close(seconds=1) == {fingerprint: "no answer"}
    assert time.monotonic() - before < 30


def test_a_server_that_is_away_at_the_end_is_waited_for(ledger, watched, tmp_path):
    start, client, notices, _ = watched
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint)
    watch = start(Flaky(client, failures=3))
    watch.started(fingerprint)
    watch.ended(fingerprint, end="finished")
    assert watch.close(patience=600) == {}
    assert ledger.runs[fingerprint].status == "FINISHED"
    assert notices[-1].startswith("MLflow does not answer; waiting up to 10 min for it. Ctrl-C leaves")


@pytest.mark.parametrize("left", [True, False])
def test_who_leaves_need_not_wait_and_what_mlflow_refuses_is_not_waited_for(ledger, watched, tmp_path, left):
    start, client, *_ = watched
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint)
    run_id = ledger.take_up(TRIALS[fingerprint], "", "#000000", tmp_path / fingerprint)
    watch = start(Flaky(client, failures=10**6 if left else 0, bad_run=run_id))
    watch.started(fingerprint)
    watch.ended(fingerprint, end="finished")
    assert watch.close(seconds=1, patience=10**6, left=lambda: True if left else pytest.fail("asked")) == {
        fingerprint: "no answer" if left else "this run is gone"
    }


def test_a_sweep_that_may_be_killed_soon_sends_what_there_is_and_says_so(ledger, watched, tmp_path):
    start, client, *_ = watched
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint, end=None)
    watch = start()
    watch.started(fingerprint)

    def reaches(status, points):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            run = ledger.runs.get(fingerprint)
            if run is not None and client.get_run(run.run_id).info.status == status:
                history = client.get_metric_history(run.run_id, "train/loss")
                if len(history) == points:
                    return True
            time.sleep(0.05)
        return False

    assert reaches("RUNNING", 2)
    outbox = EventLog(tmp_path / fingerprint)
    outbox.metrics({"train/loss": 0.25}, 3)
    watch.hurried = lambda: True
    assert reaches("KILLED", 3)
    outbox.end("finished")  # it was not killed
    outbox.close()
    watch.ended(fingerprint, end="finished")
    assert watch.close() == {}
    assert client.get_run(ledger.runs[fingerprint].run_id).info.status == "FINISHED"


@pytest.mark.parametrize("fault", [KeyError("x"), SystemExit(1), OSError(5, "Input/output error")])
def test_a_display_that_fails_costs_no_result(ledger, tmp_path, fault):
    (fingerprint, *_) = TRIALS
    record(tmp_path, fingerprint)
    ledger.runs = {}
    notices = []

    def show(fingerprint, event):
        raise fault

    def notice(text):
        notices.append(text)
        raise fault  # it cannot be told either

    watch = Uploader(ledger, TRIALS, Records(tmp_path), "", show, notice)
    watch.start()
    watch.started(fingerprint)
    watch.ended(fingerprint)
    assert watch.close() == {}
    run = ledger.client.get_run(ledger.runs[fingerprint].run_id)
    assert (run.info.status, run.data.metrics["train/loss"]) == ("FINISHED", 0.5)
    assert notices
    assert "Traceback" in notices[0]


def test_a_thread_that_cannot_go_on_ends_the_sweep_in_good_order(ledger, tmp_path):
    class Broken(Records):
        poll_seconds = property(lambda self: 1 / 0)

    notices, asked = [], []
    watch = Uploader(ledger, TRIALS, Broken(tmp_path), "", lambda fp, event: None, notices.append)
    watch.on_fault = lambda: asked.append("stop")
    watch.start()
    watch.join()
    (fingerprint, *_) = TRIALS
    watch.ended(fingerprint)
    assert asked == ["stop"]
    assert watch.close() == {fingerprint: "the thread that sends it has ended"}
    assert "ZeroDivisionError" in notices[0]
