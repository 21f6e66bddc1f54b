"""A sweep ends well in the environments that people have: other variables, odd paths, low limits.

One sweep has all variables and another all limits: if one of them fails, run it with half of the table.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.results.results import read
from orchestrator.results.store import sqlite_uri

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SPACE = "dataset: digits\narchitecture: mlp\npruner: random\ncompression: 4\nepochs: 1\n"
VARIABLES = {
    "HOME": "/nowhere",
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONWARNINGS": "error::UserWarning:nowhere",
    "TERM": "dumb",
    "COLUMNS": "40",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "RAY_ADDRESS": "127.0.0.1:9",
    "RAY_AUTH_MODE": "token",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:9",
    "MLFLOW_TRACKING_USERNAME": "ann",
    "MLFLOW_TRACKING_TOKEN": "token",
    "MLFLOW_EXPERIMENT_NAME": "another",
    "MLFLOW_EXPERIMENT_ID": "17",
    "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
    "MLFLOW_LOGGING_LEVEL": "DEBUG",
    "MPLBACKEND": "TkAgg",
    "GIT_DIR": "/nowhere/.git",
    "RAY_NAMESPACE": "mine",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "1",
    "RAY_AIR_LOCAL_CACHE_DIR": "/nowhere",  # with this and the next one Tune refuses to start
    "TUNE_RESULT_DIR": "/nowhere",
    "TUNE_RESULT_BUFFER_LENGTH": "1000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0",
}
EXECUTORS = {"here": ["--local"], "Ray": []}
PATHS = ["plain", "with spaces and 'quotes' \"both\"", "größe-数-🎉", "percent % and # and ;", "x" * 200]


def run(folder: Path, output: Path, environment: dict[str, str], *more: str, limit=None, code=0) -> str:
    space = folder / "found.yaml"
    space.write_text(SPACE)
    command = [sys.executable, "-m", "orchestrator.sweep", space, "--output", output, "--audit", "1", *more]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}/nowhere"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=limit,
        timeout=1200,
        check=False,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == code, said[-4000:]
    assert "Traceback" not in said
    return said


def finished(output: Path) -> list[str]:
    return [row.status for row in read(sqlite_uri(output / "mlflow.db"), "found").rows]


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_variables_that_are_set_already(tmp_path, executor):
    said = run(tmp_path, tmp_path / "o", VARIABLES, *executor)
    assert finished(tmp_path / "o") == ["finished"]
    assert "1 of 1 trials finished" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.yaml", "o"]
    assert not Path(VARIABLES["HOME"]).exists()


def test_no_command_writes_into_the_home_folder(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "found.yaml").write_text(SPACE)
    # MLflow sends no telemetry from tests, and matplotlib may have a folder of its own here.
    hidden = ("CI", "GITHUB_", "MLFLOW_", "MPL", "PYTEST_", "TF_BUILD", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    for words in (
        ["sweep", "found.yaml", "--local", "--audit", "0"],
        ["sweep", "found.yaml", "--local", "--dry-run"],
        ["report", "found"],
        ["audit", "found"],
        ["status"],
    ):
        command = [sys.executable, "-m", f"orchestrator.{words[0]}", *words[1:]]
        environment = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert not list(home.rglob("*")), words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.yaml", "home", "results"]


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_low_limits_in_a_path_of_all_kinds(tmp_path, executor):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.umask(0o077)

    folder = tmp_path.joinpath(*PATHS)
    folder.mkdir(parents=True)
    output = folder / "o"
    run(folder, output, {"OMP_NUM_THREADS": "1"}, *executor, limit=limit)
    assert finished(output) == ["finished"]
    assert not [path for path in output.rglob("*") if path.stat().st_mode & 0o077]


def test_a_disk_that_is_full_and_then_is_not(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False).returncode:
        pytest.skip("no small disk can be mounted here, which needs root")
    try:
        cells = ("--local", "--set", f"compression={list(range(2, 10))}", "--experiment", "found")
        said = run(tmp_path, disk / "o", {}, *cells, code=1)
        assert "The disk is full: " in said
        assert " could not be written. The same command continues where this one stopped." in said
        assert said.count("he disk is full") <= 3  # MLflow's store may notice it as well, twice
        assert "failed" not in said
        assert len(list((disk / "o" / "checkpoints").iterdir())) < 8  # the others did not begin
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        assert "8 of 8 trials finished" in run(tmp_path, disk / "o", {}, *cells)
        assert finished(disk / "o") == ["finished"] * 8
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
