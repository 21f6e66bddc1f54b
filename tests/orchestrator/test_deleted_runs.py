"""Runs that users delete in MLflow, for good or not; the experiment has a slash in its name. A sweep restores them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from orchestrator.audit.__main__ import main as audit
from orchestrator.report.__main__ import main as report
from orchestrator.results.results import read
from orchestrator.sweep import main

pytestmark = pytest.mark.slow
STORE = "sqlite:///results/mlflow.db"
WORDS = ["digits", "--local", "--audit", "0", "--experiment", "team/a b", "--set", "architecture=mlp"]
WORDS += ["--set", "pruner=random", "--set", "compression=[2, 4]", "--set", "epochs=1"]


def statuses() -> list[str]:
    return [row.status for row in read(STORE, "team/a b").rows]


def test_deleted_runs_are_restored_without_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(WORDS) == 0
    records = {file: file.read_bytes() for file in tmp_path.glob("results/checkpoints/*/outbox.jsonl")}
    assert len(records) == 2
    client = MlflowClient(STORE)
    experiment = client.get_experiment_by_name("team/a b").experiment_id

    def delete(kind: str, most: int = 9) -> None:
        for run in client.search_runs([experiment], f"tags.kind = '{kind}'")[:most]:
            client.delete_run(run.info.run_id)

    def collect_garbage() -> None:
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", STORE]
        subprocess.run(command, env=os.environ | {"MLFLOW_TRACKING_URI": STORE}, check=True, capture_output=True)

    delete("trial", 1)
    assert report(["team/a b", "--tracking-uri", STORE, "--output", "shown"]) == 0
    assert statuses() == ["finished", "not run"]
    assert "not run" in capsys.readouterr().out
    assert audit(["team/a b"]) == 0
    assert "audited 1 of 1 finished runs: all agree" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "shown").iterdir()) == [
        ".written",
        "figures",
        "report.html",
        "tables",
    ]

    delete("trial")
    collect_garbage()
    assert report(["team/a b", "--tracking-uri", STORE]) == 2
    assert audit(["team/a b"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(WORDS) == 0
    assert statuses() == ["finished"] * 2

    delete("sweep")
    delete("curve")
    collect_garbage()
    assert report(["team/a b", "--tracking-uri", STORE]) == 2
    assert main(WORDS) == 0
    assert statuses() == ["finished"] * 2
    assert audit(["team/a b"]) == 0  # with the files that garbage collection had removed
    assert records == {file: file.read_bytes() for file in tmp_path.glob("results/checkpoints/*/outbox.jsonl")}
