"""The command with early stopping on a real Ray: what is stopped is told, is not done again, and can be carried on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.results.results import read as read_results
from trainables.record.checkpoint import CHECKPOINT, generations
from trainables.record.event_log import ended, read

pytestmark = pytest.mark.cluster  # whole sweeps on Ray, four minutes of them
EPOCHS = 9
PRUNERS = ["random", "magnitude", "snip", "grasp", "synflow"]
COMPRESSIONS = [2, 50]
RULE = "asha of validation/top1, grace 1, reduction 3, same dataset and architecture and compression"


def sweep(folder: Path, *more: str, **fields: object) -> tuple[int, str]:
    space = {"architecture": "mlp", "pruner": PRUNERS, "compression": COMPRESSIONS, "epochs": EPOCHS, "validation": 0.2}
    sets = [word for key, value in (space | fields).items() for word in ("--set", f"{key}={json.dumps(value)}")]
    environment = os.environ | {"HOME": str(folder / "home"), "RAY_ADDRESS": "127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep", "digits", *sets, *more],
        check=False, cwd=folder, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout


def runs(folder: Path):
    client = MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    return client, client.search_runs([experiment], "tags.kind='trial'")


def epochs(folder: Path) -> dict[str, list[int]]:
    records = (folder / "results/checkpoints").glob("*/trial.json")
    return {
        record.parent.name: [e["step"] for e, _ in read(record.parent) if "train/loss" in e.get("metrics", {})]
        for record in records
    }


def test_what_falls_behind_is_stopped_told_left_alone_and_carried_on(tmp_path):
    code, out = sweep(tmp_path, early_stopping="asha")
    assert code == 0, out
    client, found = runs(tmp_path)
    assert len(found) == len(PRUNERS) * len(COMPRESSIONS)
    stopped = {run.data.tags["fingerprint"]: run for run in found if run.info.status == "KILLED"}
    finished = {run.data.tags["fingerprint"]: run for run in found if run.info.status == "FINISHED"}
    assert stopped
    assert len(stopped) + len(finished) == len(found)
    assert {float(run.data.params["compression"]) for run in finished.values()} == set(COMPRESSIONS)
    assert f"{len(finished)} of {len(found)} trials finished, {len(stopped)} stopped early" in out

    trained = epochs(tmp_path)
    for fingerprint, run in stopped.items():
        last = len(trained[fingerprint])
        assert 1 <= last < EPOCHS
        assert run.data.tags["stopped"] == f"epoch {last} by {RULE}"
        curve = client.get_metric_history(run.info.run_id, "validation/top1")
        assert [point.step for point in curve] == trained[fingerprint] == list(range(1, last + 1))
        assert "final/top1" not in run.data.metrics
        folder = tmp_path / "results/checkpoints" / fingerprint
        assert ended(folder) == "stopped"
        assert generations(folder / CHECKPOINT)

    results = read_results(client, "digits")
    assert {row.cell.fingerprint: row.error for row in results.missing} == {
        fingerprint: run.data.tags["stopped"] for fingerprint, run in stopped.items()
    }
    assert {row.status for row in results.missing} == {"stopped"}
    assert RULE in (tmp_path / "results/report/report.html").read_text()

    code, out = sweep(tmp_path, early_stopping="asha")
    assert code == 0, out
    assert f"{len(found)} done before, 0 to do" in out
    assert epochs(tmp_path) == trained

    code, out = sweep(tmp_path)
    assert code == 0, out
    assert epochs(tmp_path) == {fingerprint: list(range(1, EPOCHS + 1)) for fingerprint in trained}
    _, found = runs(tmp_path)
    assert {run.info.status for run in found} == {"FINISHED"}
    assert not any(run.data.tags.get("stopped") for run in found)
    assert not read_results(client, "digits").missing


def test_without_ray_there_is_nobody_to_compare_with(tmp_path):
    code, out = sweep(tmp_path, "--local", early_stopping="asha")
    assert code == 2
    assert "early_stopping: --local runs one trial after the other" in out
    assert not (tmp_path / "results").exists()


def test_a_search_tells_optuna_what_was_stopped_early(tmp_path):
    from optuna import load_study
    from optuna.trial import TrialState

    code, out = sweep(
        tmp_path,
        pruner="snip",
        compression=10,
        lr={"low": 1e-5, "high": 0.01, "log": True},
        search={"trials": 12, "sampler": "random", "confirm_seeds": 2},
        early_stopping="asha",
    )
    assert code == 0, out
    (name,) = {s.study_name for s in _studies(tmp_path)}
    states = [trial.state for trial in load_study(study_name=name, storage=_storage(tmp_path)).trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    _, found = runs(tmp_path)
    by_seed = {seed: [run.info.status for run in found if run.data.params["seed"] == seed] for seed in ("0", "1", "2")}
    assert by_seed["0"].count("KILLED") == states.count(TrialState.PRUNED)
    assert by_seed["1"] == by_seed["2"] == ["FINISHED"]  # what confirms is a result, and runs to its end

    trained = epochs(tmp_path)
    code, out = sweep(
        tmp_path,
        pruner="snip",
        compression=10,
        lr={"low": 1e-5, "high": 0.01, "log": True},
        search={"trials": 12, "sampler": "random", "confirm_seeds": 2},
        early_stopping="asha",
    )
    assert code == 0, out
    assert epochs(tmp_path) == trained


def _storage(folder: Path) -> str:
    return f"sqlite:///{folder / 'results/optuna.db'}"


def _studies(folder: Path):
    from optuna import get_all_study_summaries

    return get_all_study_summaries(_storage(folder))
