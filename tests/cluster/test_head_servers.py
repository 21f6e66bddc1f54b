"""deploy/head.sh for real: PostgreSQL and MLflow, started, killed, hung, lost, and closed to other machines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from harness import free_port
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.cluster, postgres.installed]
Head = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("head") / "mlflow"


@pytest.fixture(scope="module")
def head(port: int, folder: Path) -> Iterator[Head]:
    """deploy/head.sh with one command, as somebody who is not root."""
    places = {"HOME": str(folder.parent), "MLFLOW_FOLDER": str(folder), "MLFLOW_PORT": str(port), "VENV": sys.prefix}

    def run(command: str, patience: int = 60) -> subprocess.CompletedProcess[str]:
        words = [*postgres.somebody(), str(ROOT / "deploy/head.sh"), command]
        environment = os.environ | places | {"MLFLOW_PATIENCE": str(patience)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    try:
        yield run
    finally:
        run("stop")


@pytest.fixture
def client(head: Head, port: int) -> MlflowClient:
    head("start")
    return MlflowClient(f"http://127.0.0.1:{port}")


def _listening() -> dict[int, set[str]]:
    """By port, the addresses on which somebody on this machine listens, as the kernel writes them."""
    found: dict[int, set[str]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A":
                address, _, port = local.rpartition(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def test_listens_on_loopback_only_and_takes_files_by_the_server(client, port, folder, tmp_path):
    assert _listening()[port] == {"0100007F"}
    run = client.create_run(client.create_experiment("files")).info
    assert run.artifact_uri.startswith("mlflow-artifacts:")
    (tmp_path / "hello.txt").write_text("hello")
    client.log_artifact(run.run_id, str(tmp_path / "hello.txt"))
    assert [file.read_text() for file in (folder / "artifacts").rglob("hello.txt")] == ["hello"]
    assert (folder / "postgres/PG_VERSION").exists()
    options = (folder / "postgres/postmaster.opts").read_text()
    assert "listen_addresses=" in options and "127.0.0.1" not in options


def test_a_second_start_changes_nothing(client, head, folder):
    first = (folder / "mlflow.pid").read_text(), (folder / "postgres/postmaster.pid").read_text().split()[0]
    head("start")
    assert first == ((folder / "mlflow.pid").read_text(), (folder / "postgres/postmaster.pid").read_text().split()[0])


@pytest.mark.parametrize("victim", ["mlflow", "its parent", "postgres", "both"])
def test_what_was_killed_is_started_again_with_all_it_knew(victim, client, head, folder):
    run = client.create_run(client.create_experiment(f"killed {victim}")).info.run_id
    if victim in ("postgres", "both"):
        os.kill(int((folder / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    if victim in ("mlflow", "both"):
        os.killpg(int((folder / "mlflow.pid").read_text()), signal.SIGKILL)
    if victim == "its parent":  # the others live on, and answer
        os.kill(int((folder / "mlflow.pid").read_text()), signal.SIGKILL)
    head("start")
    assert client.get_run(run).info.run_id == run
    client.set_tag(run, "written", "after")


def test_a_server_that_lives_and_does_not_answer_is_started_anew(client, head, folder):
    hung = int((folder / "mlflow.pid").read_text())
    os.killpg(hung, signal.SIGSTOP)
    head("start", patience=1)
    assert int((folder / "mlflow.pid").read_text()) != hung
    assert client.search_experiments()


def test_stop_ends_workers_that_outlived_their_server(client, head, port, folder):
    os.kill(int((folder / "mlflow.pid").read_text()), signal.SIGKILL)
    assert port in _listening()
    head("stop")
    assert port not in _listening()


def test_after_a_lost_head_the_same_command_fills_a_new_mlflow(head, port, folder, tmp_path):
    """Nothing is trained twice: the trials' own records are on the shared file system."""
    head("start")
    space = ["digits", "--set", "architecture=mlp", "--set", "pruner=random", "--set", "compression=[1, 2]"]
    command = [sys.executable, "-m", "orchestrator.sweep", *space, "--set", "epochs=1", "--set", "seed=0", "--local"]
    command += ["--output", str(tmp_path / "shared"), "--tracking-uri", f"http://127.0.0.1:{port}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    records = sorted((tmp_path / "shared/checkpoints").glob("*/outbox.jsonl"))
    written = [record.read_bytes() for record in records]
    assert len(records) == 2

    head("stop")
    assert port not in _listening()
    shutil.rmtree(folder)
    head("start")
    subprocess.run(command, cwd=ROOT, check=True, timeout=300, capture_output=True)
    client = MlflowClient(f"http://127.0.0.1:{port}")
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [record.read_bytes() for record in records] == written
