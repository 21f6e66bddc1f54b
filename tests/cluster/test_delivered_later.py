"""A sweep whose MLflow is away when it ends: what it leaves is sent when the server is back, by nobody's hand."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Server, until
from mlflow import MlflowClient

from orchestrator import sweep
from orchestrator.running import execute, local_executor, run_trials

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield server
    server.kill()


def _end(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def test_the_rest_is_sent_when_the_server_is_back(server, tmp_path, monkeypatch, capsys, request):
    train = local_executor.run_together

    def trained(*given):
        outcome = train(*given)
        server.kill()
        return outcome

    monkeypatch.setattr(local_executor, "run_together", trained)
    for module in (execute, run_trials):
        monkeypatch.setattr(module, "AWAY_SECONDS", 0.0)  # not ten minutes
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    space = ["digits", "--set", "architecture=mlp", "--set", "pruner=random", "--set", "compression=4"]
    places = ["--local", "--output", str(tmp_path / "out"), "--tracking-uri", server.uri]
    assert sweep.main([*space, "--set", "epochs=1", "--set", "seed=0", *places]) == 1
    told = capsys.readouterr().out
    process = re.search(r"process (\d+) sends the rest and writes the report", told)
    assert process, told
    request.addfinalizer(lambda: _end(int(process[1])))
    assert not (tmp_path / "out/report/report.html").exists()

    server.start()
    client = MlflowClient(server.uri)

    def statuses() -> list[str]:
        experiment = client.get_experiment_by_name("digits")
        assert experiment is not None
        return [run.info.status for run in client.search_runs([experiment.experiment_id], "tags.kind != 'curve'")]

    until(lambda: statuses() == ["FINISHED"] * 2, "the runs are finished", 600, pause=1)
    assert (tmp_path / "out/report/report.html").exists()
    assert "1 of 1 trials finished" in (tmp_path / "out/deliver.log").read_text()
