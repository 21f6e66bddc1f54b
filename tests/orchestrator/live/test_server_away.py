"""A real MLflow server, killed: training goes on, and each point arrives once, whenever the server is back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from trainables.record.event_log import read

pytestmark = pytest.mark.slow
EPOCHS = 40
SWEEP = ["digits", "--local", "--set", "architecture=conv", "--set", "pruner=[random, snip]", "--set", "compression=4"]


def until(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Server:
    """`mlflow server` on SQLite and loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        options = ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}", "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", self._port, *options]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process = subprocess.Popen(
            [*command, "--artifacts-destination", str(self._folder / "files")],
            cwd=self._folder,
            env=os.environ | quiet,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._answers)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own: all of it and nothing else
        self._process.wait()

    def _answers(self) -> bool:
        with suppress(OSError):
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        return False


@pytest.fixture
def server(tmp_path):
    found = Server(tmp_path)
    found.start()
    yield found
    found.kill()


def start(folder: Path, server: Server, of_epochs: int = EPOCHS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.sweep", *SWEEP, "--set", f"epochs={of_epochs}"]
    return subprocess.Popen(
        [*command, "--tracking-uri", server.uri], cwd=folder, text=True, stdout=-1, stderr=subprocess.STDOUT
    )


def epochs(folder: Path) -> int:
    records = (folder / "results/checkpoints").glob("*")
    return sum("train/loss" in event.get("metrics", {}) for record in records for event, _ in read(record))


def read_until(sweep: subprocess.Popen[str], words: str) -> str:
    """Return what the sweep prints, up to a line with these words."""
    assert sweep.stdout is not None
    out = ""
    for line in sweep.stdout:
        out += line
        if words in line:
            return out
    pytest.fail(out)


def complete(server: Server, of_epochs: int = EPOCHS) -> dict[str, float]:
    """The final accuracies by fingerprint, after making sure that every epoch has one point of each metric."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("digits").experiment_id
    assert not client.search_runs([experiment], "attributes.status='RUNNING'")
    runs = client.search_runs([experiment], "tags.kind='trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    for run in runs:
        for key in ("train/loss", "test/top1", "time/epoch_seconds"):
            steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, key))
            assert steps == dict.fromkeys(range(1, of_epochs + 1), 1), key
    return {run.data.tags["fingerprint"]: run.data.metrics["final/top1"] for run in runs}


def test_killed_and_started_again_during_the_sweep(tmp_path, server):
    sweep = start(tmp_path, server)
    until(lambda: epochs(tmp_path) > EPOCHS // 4)
    server.kill()
    seen = epochs(tmp_path)
    until(lambda: epochs(tmp_path) > seen + 5)  # nobody waits for it
    server.start()
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out
    assert len(complete(server)) == 2


def test_away_to_the_end_it_is_sent_by_the_same_command_without_training(tmp_path, server):
    sweep = start(tmp_path, server)
    until(lambda: epochs(tmp_path) > EPOCHS // 4)
    server.kill()
    out = read_until(sweep, "waiting up to 10 min for it. Ctrl-C leaves")
    sweep.send_signal(signal.SIGINT)
    out += sweep.communicate(timeout=300)[0]
    assert sweep.returncode == 1, out
    assert "Traceback" not in out
    assert "2 trials could not be sent to MLflow yet; the same command sends them." in out
    assert "0 of 2 trials finished, 2 computed and not in MLflow yet" in out
    records = {path: path.read_bytes() for path in (tmp_path / "results/checkpoints").glob("*/outbox.jsonl")}
    server.start()
    sweep = start(tmp_path, server)
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out
    assert all(path.read_bytes() == content for path, content in records.items())
    assert len(complete(server)) == 2


def test_away_at_the_end_it_is_waited_for_and_the_report_is_written(tmp_path, server):
    sweep = start(tmp_path, server)
    until(lambda: epochs(tmp_path) > EPOCHS // 4)
    server.kill()
    out = read_until(sweep, "waiting up to 10 min for it")
    server.start()
    out += sweep.communicate(timeout=300)[0]
    assert sweep.returncode == 0, out
    assert (tmp_path / "results/report/report.html").exists()
    assert len(complete(server)) == 2


def test_after_sigterm_and_a_kill_nothing_runs_in_mlflow_and_the_next_start_adopts(tmp_path, server):
    long = 5 * EPOCHS
    sweep = start(tmp_path, server, long)
    client = MlflowClient(server.uri)

    def runs(query: str) -> list[str]:
        found = client.get_experiment_by_name("digits")
        return [run.info.run_id for run in client.search_runs([found.experiment_id], query)] if found else []

    until(lambda: epochs(tmp_path) > EPOCHS // 4 and runs("tags.kind='trial'"))
    sweep.terminate()
    until(lambda: not runs("attributes.status='RUNNING'"))
    sweep.kill()  # as `ray job stop` does after 3 s
    sweep.wait()
    known = set(runs(""))
    sweep = start(tmp_path, server, long)
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out
    assert len(complete(server, long)) == 2
    assert known <= set(runs(""))


def test_a_run_that_a_killed_driver_left_running_is_adopted(tmp_path, server):
    long = 5 * EPOCHS  # a trial does not end between two looks
    sweep = start(tmp_path, server, long)
    client = MlflowClient(server.uri)

    def begun() -> list[str]:
        found = client.get_experiment_by_name("digits")
        runs = client.search_runs([found.experiment_id], "tags.kind='trial'") if found else []
        return [run.info.run_id for run in runs if run.data.metrics]

    until(begun)
    sweep.kill()
    sweep.wait()
    (left,) = begun()
    assert client.get_run(left).info.status == "RUNNING"
    sweep = start(tmp_path, server, long)
    out, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, out
    assert len(complete(server, long)) == 2
    assert client.get_run(left).info.status == "FINISHED"
