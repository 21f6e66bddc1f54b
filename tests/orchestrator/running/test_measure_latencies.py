"""`--latency alone`: after the trials, and for trials of earlier sweeps, on this machine and on Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.whole_devices import measure_on_whole_devices, whole_devices
from orchestrator.sweep import main
from search_spaces import Trial
from trainables.context import Place
from trainables.latency_alone import is_measured_alone
from trainables.record.event_log import snapshot
from trainables.run import run

TINY = ["digits", "--local", "--audit", "0", "--set", "architecture=mlp", "--set", "epochs=1", "--set", "compression=4"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def latencies():
    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    experiment = client.get_experiment_by_name("digits")
    found = client.search_runs([experiment.experiment_id], "tags.kind='trial'")
    steps = {
        run.data.tags["fingerprint"]: [
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, "model/latency_ms")
        ]
        for run in found
    }
    shown = {run.data.tags["fingerprint"]: run.data.metrics["model/latency_ms"] for run in found}
    return steps, shown, {run.data.tags.get("latency") for run in found}, {run.info.status for run in found}


@pytest.mark.slow
def test_finished_trials_are_measured_once_more_and_mlflow_shows_it(capsys):
    pruner = ["--set", "pruner=[random, magnitude]"]
    assert main([*TINY, *pruner]) == 0
    before, _, tags, _ = latencies()
    assert tags == {None}
    assert main([*TINY, *pruner, "--latency", "alone"]) == 0
    assert "latency measured alone for 2 trials" in capsys.readouterr().out
    after, shown, tags, status = latencies()
    assert tags == {"alone"}
    assert status == {"FINISHED"}
    for fingerprint, points in after.items():
        assert [step for step, _ in points] == [0, 1]
        assert points[:1] == before[fingerprint]
        assert shown[fingerprint] == points[1][1]
    assert "Each was measured alone on its device" in Path("results/report/report.html").read_text()

    assert main([*TINY, *pruner, "--latency", "alone"]) == 0
    assert "latency measured" not in capsys.readouterr().out
    assert latencies()[0] == after


def test_what_cannot_be_measured_is_said_and_costs_nothing(capsys):
    pruner = ["--set", "pruner=random"]
    assert main([*TINY, *pruner]) == 0
    before = latencies()
    next(Path("results/checkpoints").glob("*/masks.safetensors")).unlink()
    assert main([*TINY, *pruner, "--latency", "alone"]) == 0
    assert "latency not measured alone for 1 trials" in capsys.readouterr().out
    assert latencies() == before


@pytest.mark.cluster
def test_each_has_a_node_of_its_own_on_ray(tmp_path):
    place = Place(tmp_path / "trials", tmp_path / "data")
    trials = [Trial(dataset="digits", architecture="mlp", epochs=1, seed=seed) for seed in range(3)]
    for trial in trials:
        assert run(trial, place).end == "finished"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        ray.init(address=cluster.address, namespace="latencies")
        cluster.add_node(num_cpus=1, num_gpus=4)
        assert sorted(device[1:] for device in whole_devices(Resources(1))) == [(1, 0), (2, 0)]
        assert [device[1:] for device in whole_devices(Resources(1, 0.5))] == [(0.25, 1)] * 4

        stops = iter([False, True, True, True])
        first = list(measure_on_whole_devices(trials, place, Resources(2), (), lambda: next(stops, True)))
        assert first == [(trials[0], "")]  # only the head has two CPUs, and what has not begun is left out
        rest = dict(measure_on_whole_devices(trials, place, Resources(1), (), lambda: False))
        assert rest == dict.fromkeys(trials, "")
        assert all(is_measured_alone(snapshot(place.storage / trial.fingerprint)) for trial in trials)
        nowhere = list(measure_on_whole_devices(trials, place, Resources(8), (), lambda: False))
        assert {reason for _, reason in nowhere} == {"no node of the cluster has the device"}
    finally:
        ray.shutdown()
        cluster.shutdown()
