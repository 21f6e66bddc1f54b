"""Sweeps of pruners that prune after or during training: the stage runs first, once, and is no cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.planning.plan import plan
from orchestrator.sweep import main
from search_spaces import load
from trainables.training import trainer

TINY = ["digits", "--local", "--set", "architecture=mlp", "--set", "epochs=2"]
AFTER = ["--set", "pruner={name: magnitude, pretrain_epochs: 3}", "--set", "compression=[2, 4]"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trainings(monkeypatch):
    seen, train = [], trainer.train
    monkeypatch.setattr(
        trainer, "train", lambda *a, **k: seen.append((a[0].trial.pruner, a[0].trial.epochs)) or train(*a, **k)
    )
    return seen


def trial_runs():
    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    found = client.get_experiment_by_name("digits")
    return client.search_runs([found.experiment_id], "tags.kind='trial'")


@pytest.mark.slow
def test_the_stage_runs_first_and_once_and_is_no_trial_of_the_sweep(trainings, capsys):
    assert main([*TINY, *AFTER]) == 0
    assert trainings == [("dense", 3), ("magnitude", 2), ("magnitude", 2)]
    out = capsys.readouterr().out
    assert "once for 2 trials: pretrain mlp digits, 3 epochs" in out
    assert "2 of 2 trials finished" in out
    assert [run.data.params["pruner"] for run in trial_runs()] == ["magnitude"] * 2

    assert main([*TINY, *AFTER[:2], "--set", "compression=[2, 4, 8]"]) == 0
    assert trainings[3:] == [("magnitude", 2)]


@pytest.mark.slow
def test_a_stage_that_is_a_cell_too_is_trained_once(trainings):
    assert main([*TINY, "--set", "pruner={name: magnitude, pretrain_epochs: 2}", "--set", "compression=[1, 4]"]) == 0
    assert trainings == [("dense", 2), ("magnitude", 2)]
    assert {run.data.params["pruner"] for run in trial_runs()} == {"dense", "magnitude"}


def test_a_stage_that_fails_fails_what_starts_from_it(trainings, capsys):
    assert main([*TINY, *AFTER, "--set", "lr=1e20", "--set", "optimizer=sgd"]) == 1
    assert trainings == [("dense", 3)]
    assert "2 failed" in capsys.readouterr().out
    assert all("StageError: the dense training" in run.data.tags["error"] for run in trial_runs())


def test_the_plan_names_what_is_shared(tmp_path):
    space = load(
        "digits", ["pruner={name: snip, levels: 2}", "architecture=mlp", "compression=[1, 2, 4]", "seed=[0, 1]"]
    )
    made = plan(space, cache=tmp_path)
    assert [(s.kind, s.serves, s.times) for s in made.stages] == [("data", 6, 1), ("pretrain", 4, 2)]  # of two seeds
    assert [dense.epochs for dense in made.pretraining] == [60, 60]
    assert len(made.after({trial.fingerprint for trial in made.trials}).pretraining) == 0


@pytest.mark.slow
def test_before_after_and_during_in_one_sweep(trainings, capsys):
    names = ["{name: magnitude, pretrain_epochs: 2}", "lamp", "{name: imp, levels: 2}", "gradual", "set", "rigl"]
    assert main([*TINY, "--set", f"pruner=[{', '.join(names)}]", "--set", "compression=[2, 8]"]) == 0
    out = capsys.readouterr().out
    assert "12 of 12 trials finished" in out
    assert "once for 6 trials: pretrain mlp digits, 2 epochs" in out
    assert trainings.count(("dense", 2)) == 1
    runs = trial_runs()
    assert {run.data.params["pruner"] for run in runs} == {"magnitude", "lamp", "imp", "gradual", "set", "rigl"}
    for run in runs:
        assert run.data.metrics["model/compression"] == pytest.approx(float(run.data.params["compression"]), rel=1e-3)
    del trainings[:]
    assert main([*TINY, "--set", f"pruner=[{', '.join(names)}]", "--set", "compression=[2, 8]"]) == 0
    assert trainings == []
