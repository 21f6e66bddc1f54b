"""A space that searches, from its file to MLflow, killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml
from mlflow import MlflowClient

from orchestrator.results.results import read
from trainables.record.event_log import ended

pytestmark = pytest.mark.slow

SPACE = {
    "name": "tuned",
    "dataset": "digits",
    "architecture": {"name": "mlp", "depth": 3, "width": 30},
    "pruner": ["snip", {"name": "synflow", "iterations": {"choices": [1, 10]}}],
    "compression": [1, 8],
    "validation": 0.2,
    "epochs": 2,
    "lr": {"low": 0.01, "high": 1.0, "log": True},
    "search": {"trials": 4, "confirm_seeds": 2},
}
STUDIES, TRIALS, SEEDS = 3, 4, 2


def start(folder: Path, *more: str, **space: object) -> subprocess.Popen[str]:
    file = folder / "tuned.yaml"
    file.write_text(yaml.safe_dump(SPACE | space))
    command = [sys.executable, "-m", "orchestrator.sweep", str(file), *more]
    environment = os.environ | {"HOME": str(folder / "home")}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT)


def finish(folder: Path, *more: str, **space: object) -> str:
    process = start(folder, *more, **space)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def finished(folder: Path) -> int:
    records = folder / "results" / "checkpoints"
    return sum(ended(record) == "finished" for record in records.glob("*") if record.is_dir())


def runs(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("tuned")
    return client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")


@pytest.mark.parametrize(
    "executor", [pytest.param(["--local"], id="here"), pytest.param([], id="ray", marks=pytest.mark.cluster)]
)
def test_a_killed_search_goes_on_and_asks_for_nothing_twice(tmp_path, executor):
    driver = start(tmp_path, *executor)
    deadline = time.monotonic() + 200
    while finished(tmp_path) < STUDIES * TRIALS // 2:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    finish(tmp_path, *executor)

    found = runs(tmp_path)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert max(Counter(run.data.tags["fingerprint"] for run in found).values()) == 1
    assert len(found) == STUDIES * (TRIALS + SEEDS)
    storage = f"sqlite:///{tmp_path / 'results/optuna.db'}"
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        asked = [trial for trial in study.trials if "fingerprint" in trial.user_attrs]  # else killed while it asked
        assert Counter(trial.state.name for trial in asked) == {"COMPLETE": TRIALS}
        by_fingerprint = {run.data.tags["fingerprint"]: run for run in found}
        for trial in asked:  # what Optuna was told is what MLflow has, of the images held out
            run = by_fingerprint[trial.user_attrs["fingerprint"]]
            assert trial.value == run.data.metrics["final/validation_top1"]
            assert float(run.data.params["lr"]) == trial.params["lr"]

    results = read(f"sqlite:///{tmp_path / 'results/mlflow.db'}", "tuned")
    assert len(results.tried) == STUDIES * TRIALS
    chosen = Counter((row.cell.pruner, row.cell.compression) for row in results.rows)
    assert chosen == dict.fromkeys([(p, c) for p in ("snip", "synflow") for c in (1, 8)], SEEDS)
    for row in results.rows:
        rivals = [tried for tried in results.tried if tried.cell.study == row.cell.study]
        best = max(rivals, key=lambda tried: tried.metrics["final/validation_top1"])
        assert row.cell.searched == best.cell.searched

    again = " ".join(finish(tmp_path, *executor, "--dry-run").split())
    assert "nothing left to do" in again and "of training" not in again
    before = finished(tmp_path)
    assert f"{len(found)} of {len(found)} trials finished" in finish(tmp_path, *executor)
    assert finished(tmp_path) == before


def test_several_objectives_over_the_whole_sweep(tmp_path):
    objective = ["validation/top1", "model/params_kept"]
    search = {"trials": 6, "per": "sweep", "objective": objective, "sampler": "nsga2"}
    finish(tmp_path, "--local", compression=[2, 8, 32], search=search)
    results = read(f"sqlite:///{tmp_path / 'results/mlflow.db'}", "tuned")
    assert len(results.tried) == 6
    assert results.rows == ()
    assert {row.cell.pruner for row in results.tried} <= {"snip", "synflow"}
    (sweep,) = results.sweeps
    assert sweep.plan["search"]["objective"] == objective


def test_a_search_that_has_tried_everything_ends_well(tmp_path):
    space = {"pruner": "random", "compression": 4, "lr": {"choices": [0.1, 0.2]}, "epochs": 1}
    space["search"] = {"trials": 20, "confirm_seeds": 1}
    said = finish(tmp_path, "--local", **space)
    assert "1 study of 2 trials (of 20: there are no more settings to try)" in " ".join(said.split())
    assert "the study has tried every setting there is, so further trials would only repeat results" in said
    assert "3 of 3 trials finished" in said
    page = (tmp_path / "results" / "report" / "report.html").read_text()
    assert "It tried every setting there is, so further trials would only repeat results." in page
    assert "nothing left to do" in finish(tmp_path, "--local", "--dry-run", **space)
