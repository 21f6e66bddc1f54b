"""`--latency alone`: after the trials, and for trials of earlier sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.sweep import main

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
    assert "latency not measured alone for 1 trial:" in capsys.readouterr().out
    assert latencies() == before
