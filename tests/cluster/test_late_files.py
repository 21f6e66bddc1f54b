"""Processes see late what others write to the shared folder, and a worker node is killed: the sweep loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import OPEN, Nodes, Server, Sweep, until
from mlflow import MlflowClient

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
EPOCHS = 4
SPACE = ("digits", "--set", "architecture=mlp", "--set", "pruner=[random, snip, magnitude]")
SPACE += ("--set", "compression=[2, 4, 8]", "--set", f"epochs={EPOCHS}", "--checkpoint-every", "0.2s")
SECONDS = 4.0  # how late


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let all processes that are started from now on see the trials' files late; return the log of late looks."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc here")
    library = tmp_path / "late_files.so"
    source = Path(__file__).parent / "late_files.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    told = tmp_path / "told"
    own = {"LATE_FOLDER": f"{tmp_path}/late/out/checkpoints/", "LATE_SECONDS": str(SECONDS), "LATE_TOLD": str(told)}
    for key, value in {**OPEN, **own, "LD_PRELOAD": str(library)}.items():
        monkeypatch.setenv(key, value)
    return told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}")
    yield server
    server.kill()


@pytest.fixture
def nodes(told: Path) -> Iterator[Nodes]:
    nodes = Nodes(workers=2, cpus=1)
    yield nodes
    nodes.stop()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The same sweep by the plain executor, in one process: nothing is late."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), (*SPACE, "--local"), EPOCHS)
    sweep.finish()
    return sweep


def artifacts(uri: str) -> dict[str, set[str]]:
    """The names of each trial's files in MLflow, by fingerprint."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    return {run.data.tags["fingerprint"]: {f.path for f in client.list_artifacts(run.info.run_id)} for run in runs}


def test_a_sweep_loses_nothing(undisturbed: Sweep, server: Server, nodes: Nodes, told: Path, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    places = ("--address", nodes.address, "--tracking-uri", server.uri)
    sweep = Sweep(tmp_path / "late", (*SPACE, *places), EPOCHS)
    with sweep.running() as driver:
        until(lambda: driver.poll() is not None or sweep.recorded() >= EPOCHS + 1, "the second trial trains")
        nodes.kill()
        nodes.join()
        out, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, out
    alone = f"sqlite:///{undisturbed.folder / 'out' / 'mlflow.db'}"
    assert sweep.results(server.uri, "digits") == undisturbed.results(alone, "digits")
    assert artifacts(server.uri) == artifacts(alone)
    looks = {(line.split()[0], Path(line.split()[1]).suffix) for line in told.read_text().splitlines()}
    assert {("shorter", ".jsonl"), ("hidden", ".jsonl"), ("hidden", ".safetensors")} <= looks
    assert {name for what, name in looks if what == "hidden"} >= {".json"}
    assert os.environ["LD_PRELOAD"]
