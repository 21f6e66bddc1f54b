"""Records on a shared folder that shows appended lines late: no result is lost, and no run is closed too early."""

from __future__ import annotations

import json

import pytest

from orchestrator.audit.audit_experiment import _sent
from orchestrator.audit.run import load_finished
from orchestrator.live.trial_records import Records
from orchestrator.live.trial_sources import StudyTrials
from orchestrator.live.uploader import LATE, Uploader
from orchestrator.tracking.experiment import create
from orchestrator.tracking.missing_results import send_missing
from search_spaces import Trial
from trainables.record.event_log import FILE, EventLog, read
from trainables.record.mlflow import MARK

TRIAL = Trial(dataset="digits", architecture="mlp", seed=0)
FINGERPRINT = TRIAL.fingerprint
EPOCHS = 4


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return create(f"sqlite:///{folder / 'mlflow.db'}", "late", folder / "artifacts")


@pytest.fixture
def folder(ledger, tmp_path):
    """The folder of a trial that another node has finished."""
    ledger.runs = {}
    folder = tmp_path / FINGERPRINT
    folder.mkdir()
    outbox = EventLog(folder)
    for epoch in range(1, EPOCHS + 1):
        outbox.metrics({"train/loss": 1 / epoch}, epoch)
    (folder / "layers.json").write_text(json.dumps({"columns": [], "data": []}))
    outbox.artifact("layers.json")
    outbox.metrics({"final/top1": 0.5})
    outbox.end("finished")
    outbox.close()
    return folder


def ends(folder):
    """The offsets in the record at which an event is complete."""
    return [offset for _, offset in read(folder)]


def upload(ledger, folder, seconds=60.0):
    """Follow the trial to its end, as a driver does that is told so; return what could not be sent."""
    watch = Uploader(ledger, {FINGERPRINT: TRIAL}, Records(folder.parent), "", lambda fp, event: None, print)
    watch.started(FINGERPRINT)
    watch.ended(FINGERPRINT, end="finished")
    watch.start()
    return watch.close(seconds)


def in_mlflow(ledger):
    """Status, losses by epoch, the final accuracy and the files of the trial's run."""
    run = ledger.client.get_run(ledger.runs[FINGERPRINT].run_id)
    losses = {point.step: point.value for point in ledger.client.get_metric_history(run.info.run_id, "train/loss")}
    files = [file.path for file in ledger.client.list_artifacts(run.info.run_id)]
    return run.info.status, losses, run.data.metrics.get("final/top1"), files


WHOLE = ("FINISHED", {epoch: 1 / epoch for epoch in range(1, EPOCHS + 1)}, 0.5, ["layers.json"])


@pytest.mark.parametrize("looks", range(1, 9))
@pytest.mark.parametrize("seen", ["all but the last event", "half a line less", "nothing"])
def test_a_run_has_all_that_its_record_has_whenever_the_end_appears(ledger, folder, late, looks, seen):
    before_end = ends(folder)[-2]
    shown = {"all but the last event": before_end, "half a line less": ends(folder)[2] + 10, "nothing": 0}[seen]
    late.show(folder / FILE, *[shown] * looks)
    assert upload(ledger, folder) == {}
    assert in_mlflow(ledger) == WHOLE


def test_without_its_end_a_run_is_not_closed_and_the_next_sweep_sends_the_rest(ledger, folder, late):
    late.show_for_ever(folder / FILE, ends(folder)[1])
    assert upload(ledger, folder, seconds=1) == {FINGERPRINT: LATE}
    assert in_mlflow(ledger)[0] == "RUNNING"
    late.show(folder / FILE)
    assert upload(ledger, folder) == {}
    assert in_mlflow(ledger) == WHOLE


@pytest.mark.parametrize("size", [-1, 0, 5])
def test_a_file_is_sent_when_all_of_it_is_there(ledger, folder, late, size):
    file = folder / "layers.json"
    late.show_for_ever(file, size)
    (problem,) = upload(ledger, folder, seconds=1).values()
    assert problem.startswith("layers.json ")
    assert in_mlflow(ledger)[3] == []
    late.show(file, size, size)
    assert upload(ledger, folder) == {}
    assert in_mlflow(ledger) == WHOLE


def spoil(ledger, folder, late):
    """Leave what a driver left that read the record twice: FINISHED, with less than the record has."""
    late.show_for_ever(folder / FILE, ends(folder)[1])
    upload(ledger, folder, seconds=0.5)
    ledger.close_trial(FINGERPRINT, "FINISHED")
    late.show(folder / FILE)
    assert in_mlflow(ledger) == ("FINISHED", {1: 1.0, 2: 0.5}, None, [])


def test_what_a_finished_run_lacks_is_sent_by_the_next_sweep(ledger, folder, late):
    spoil(ledger, folder, late)
    runs = {FINGERPRINT: ledger.runs[FINGERPRINT].run_id}
    assert send_missing(ledger.client, runs, folder.parent, {}) == [FINGERPRINT]
    assert in_mlflow(ledger) == WHOLE
    assert send_missing(ledger.client, runs, folder.parent, {}) == []


def test_what_a_finished_run_lacks_is_sent_by_an_audit_whatever_the_mark_says(ledger, folder, late):
    spoil(ledger, folder, late)
    mark = json.loads((folder / MARK).read_text())
    (folder / MARK).write_text(json.dumps(mark | {"offset": ends(folder)[-1]}))  # MLflow came from an old backup
    found = [run for run in load_finished(ledger.client, "late") if run.info.run_id == mark["run_id"]]
    assert _sent(ledger.client, found, folder.parent) == [FINGERPRINT]
    assert in_mlflow(ledger) == WHOLE


def test_a_record_that_was_sent_to_another_run_is_left_alone(ledger, folder):
    upload(ledger, folder)
    other = ledger.client.create_run(ledger.experiment_id).info.run_id
    assert send_missing(ledger.client, {FINGERPRINT: other}, folder.parent, {FINGERPRINT: {}}) == []


def test_a_point_that_two_attempts_recorded_is_sent_once(ledger, folder):
    late = folder.parent / "late" / FINGERPRINT  # a second attempt that did not see the first one's events
    late.mkdir(parents=True)
    outbox = EventLog(late)
    outbox.metrics({"train/loss": 0.25, "test/loss": 2.0}, EPOCHS)
    outbox.end("finished")
    outbox.close()
    with (folder / FILE).open("ab") as file:
        file.write((late / FILE).read_bytes())
    assert upload(ledger, folder) == {}
    points = ledger.client.get_metric_history(ledger.runs[FINGERPRINT].run_id, "train/loss")
    assert sorted(point.step for point in points) == list(range(1, EPOCHS + 1))
    assert ledger.client.get_run(ledger.runs[FINGERPRINT].run_id).data.metrics["test/loss"] == 2.0


def test_a_search_is_told_a_result_that_appears_late():
    class Seeker:
        studies = ()
        looks, told = 0, None

        def knows(self, fingerprint):
            self.looks += 1
            return self.looks == 2

        def ended(self, fingerprint, stopped_after):
            self.told = self.looks

    seeker = Seeker()
    StudyTrials(seeker, lambda trial: True).ended(FINGERPRINT, finished=True)
    assert seeker.told == 2
