"""The ledger: one run per trial, also where a server dies between a run and its answer."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.live.trial_records import Records
from orchestrator.live.uploader import Uploader
from orchestrator.planning.plan import plan
from orchestrator.tracking.experiment import commit, create, existing
from orchestrator.tracking.measured_speeds import METRIC, images_per_second, of_one_worker
from search_spaces import Trial, load
from trainables.record.event_log import EventLog


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def ledger(uri, tmp_path):
    return create(uri, tmp_path.name, tmp_path / "artifacts")


@pytest.fixture
def planned(tmp_path):
    space = {"dataset": "digits", "architecture": "mlp", "pruner": "random", "compression": [2, 4], "epochs": 2}
    return plan(load(space), cache=tmp_path / "data")


class Deaf:
    """A client that does not hear the answer to the first run of each name."""

    def __init__(self, client):
        self._client, self.lost = client, {}

    def __getattr__(self, name):
        return getattr(self._client, name)

    def create_run(self, experiment_id, run_name, tags):
        run = self._client.create_run(experiment_id, run_name=run_name, tags=tags)
        if run_name not in self.lost:
            self.lost[run_name] = run.info.run_id
            raise ConnectionError("the server was killed")
        return run


def carry_out(ledger, planned, folder):
    """A sweep whose trials all end, as the watch brings them to MLflow; its run."""
    watch = Uploader(ledger, {t.fingerprint: t for t in planned.trials}, Records(folder), "", print, print)
    for trial in planned.trials:
        (folder / trial.fingerprint).mkdir(parents=True, exist_ok=True)
        outbox = EventLog(folder / trial.fingerprint)
        for epoch in (1, 2):
            outbox.metrics({"train/loss": 1 / epoch}, epoch)
        outbox.end("finished")
        outbox.close()
        watch.started(trial.fingerprint)
        watch.ended(trial.fingerprint)
    watch.start()
    assert watch.close() == {}


def runs(ledger, kind="trial"):
    """All that are not deleted, by what they are of, after making sure that each epoch has one point."""
    found = list(ledger.client.search_runs([ledger.experiment_id], f"tags.kind='{kind}'"))
    for run in found if kind == "trial" else ():
        history = ledger.client.get_metric_history(run.info.run_id, "train/loss")
        assert Counter(point.step for point in history) == {1: 1, 2: 1}
    return {run.data.tags.get("fingerprint", kind): run.info.status for run in found}, len(found)


def test_a_run_whose_answer_was_lost_is_gone_when_the_sweep_ends(ledger, planned, tmp_path):
    deaf = ledger.client = Deaf(ledger.client)
    with pytest.raises(ConnectionError):
        ledger.start_sweep(planned, "")
    parent = ledger.start_sweep(planned, "")
    carry_out(ledger, planned, tmp_path / "checkpoints")
    assert len(deaf.lost) == 3
    ledger.settle(parent)
    assert runs(ledger) == ({trial.fingerprint: "FINISHED" for trial in planned.trials}, 2)
    assert runs(ledger, "sweep") == ({"sweep": "RUNNING"}, 1)


def test_a_driver_killed_after_it_leaves_doubles_and_the_next_settles_on_the_one_with_data(
    uri, ledger, planned, tmp_path
):
    ledger.client = Deaf(ledger.client)
    carry_out(ledger, planned, tmp_path / "checkpoints")
    left = {fingerprint: run.run_id for fingerprint, run in ledger.runs.items()}
    for run_id in left.values():  # killed before it had closed them
        ledger.client.update_run(run_id, status="RUNNING")
    book = existing(uri, ledger.experiment)
    assert {fingerprint: run.run_id for fingerprint, run in book.runs.items()} == left
    book.reconcile(planned)
    carry_out(book, planned, tmp_path / "checkpoints")
    assert runs(book) == ({trial.fingerprint: "FINISHED" for trial in planned.trials}, 2)


def test_a_run_with_the_points_of_a_record_that_is_gone_is_replaced(uri, ledger, planned, tmp_path):
    carry_out(ledger, planned, tmp_path / "on another machine")
    lost = [run.run_id for run in ledger.runs.values()]
    for run_id in lost:
        ledger.client.update_run(run_id, status="KILLED")
    book = existing(uri, ledger.experiment)
    carry_out(book, planned, tmp_path / "here")
    assert runs(book) == ({trial.fingerprint: "FINISHED" for trial in planned.trials}, 2)
    assert {ledger.client.get_run(run_id).info.lifecycle_stage for run_id in lost} == {"deleted"}


def test_of_two_without_data_the_older_counts(uri, ledger, planned):
    tags = {"kind": "trial", "fingerprint": planned.trials[0].fingerprint}
    first, second = (
        ledger.client.create_run(ledger.experiment_id, start_time=time, tags=tags).info.run_id for time in (1, 2)
    )
    book = existing(uri, ledger.experiment)
    book.reconcile(planned)
    assert book.runs[tags["fingerprint"]].run_id == first
    assert ledger.client.get_run(second).info.lifecycle_stage == "deleted"


def test_outside_of_a_checkout_the_commit_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) == "unknown"
    monkeypatch.setenv("GIT_COMMIT", "0123456789ab-dirty")
    assert commit(tmp_path) == "0123456789ab-dirty"


def test_any_experiment_tells_how_fast_a_network_trains_on_images_of_a_size(ledger, uri):
    def ran(architecture, size, speed, machine, status="FINISHED"):
        run = ledger.client.create_run(ledger.experiment_id, tags={"input_shape": size, "machine": machine})
        ledger.client.log_param(run.info.run_id, "architecture", architecture)
        ledger.client.log_metric(run.info.run_id, METRIC, speed)
        ledger.client.set_terminated(run.info.run_id, status)
        return run.info.run_id

    gpu, cpu = "NVIDIA H200", "AVX512 CPU, x86_64, threads=1"
    ran("resnet50", "3x224x224", 1000, gpu)
    ran("resnet50", "3x224x224", 5, cpu)
    ran("resnet50", "3x32x32", 9000, gpu)
    ran("resnet50", "3x224x224", 7000, gpu, "FAILED")
    ledger.client.log_param(ran("resnet50", "3x224x224", 3000, gpu), "architecture_options.width", "16")
    ran("resnet18", "3x224x224", 4000, gpu)
    trial = Trial(dataset="imagenet", architecture="resnet50")
    other = Trial(dataset="imagenet", architecture="resnet34")
    assert images_per_second(uri, [trial, other], on_gpu=True) == ({("resnet50", "3x224x224"): [1000]}, {gpu})
    assert images_per_second(uri, [trial], on_gpu=False) == ({("resnet50", "3x224x224"): [5]}, {cpu})
    assert images_per_second(uri, [], on_gpu=True) == ({}, set())


def test_speeds_are_those_of_a_worker_and_efficiency_is_against_one_alone(ledger, uri):
    trial, gpu = Trial(dataset="imagenet", architecture="vgg16-bn", batch_size=256), "NVIDIA H200"
    for workers, speed, batch in ((1, 1000, 256), (1, 900, 128), (4, 3200, 256)):
        tags = {"input_shape": "3x224x224", "machine": gpu, "workers": str(workers)}
        run = ledger.client.create_run(ledger.experiment_id, tags=tags)
        for key, value in {"architecture": "vgg16-bn", "batch_size": batch, "precision": "float32"}.items():
            ledger.client.log_param(run.info.run_id, key, value)
        ledger.client.log_metric(run.info.run_id, METRIC, speed)
        ledger.client.set_terminated(run.info.run_id)
    speeds, _ = images_per_second(uri, [trial], on_gpu=True)
    assert sorted(speeds["vgg16-bn", "3x224x224"]) == [800, 900, 1000]
    assert of_one_worker(uri, [trial]) == {trial.fingerprint: {gpu: 1000}}
