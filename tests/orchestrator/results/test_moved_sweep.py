"""A whole output folder that was moved: every command goes on with it, and needs nothing of the old place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from orchestrator import status
from orchestrator.audit import __main__ as audit
from orchestrator.command_line import SCREENS
from orchestrator.report import __main__ as report
from orchestrator.results.results import read
from orchestrator.results.store import connect


@pytest.mark.slow
def test_every_command_works_on_a_moved_folder(tmp_path: Path) -> None:
    space = {"dataset": "digits", "architecture": "mlp", "pruner": "random", "compression": 10, "epochs": 0}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(space))
    asked = [str(tmp_path / "s.yaml"), "--local", "--audit", "0", "--output"]
    _sweep([*asked, str(tmp_path / "a")])
    moved = tmp_path / "home" / "b c"
    moved.parent.mkdir()
    (tmp_path / "a").rename(moved)
    store = f"sqlite:///{moved}/mlflow.db"
    before = (moved / "mlflow.db").read_bytes()

    assert status.main(["s", "--output", str(moved)]) == 0
    assert audit.main(["s", "--output", str(moved), "--no-log"]) == 0
    assert report.main(["s", "--tracking-uri", store, "--output", str(tmp_path / "r"), "--no-log"]) == 0
    assert (moved / "mlflow.db").read_bytes() == before  # as on a disk that is only read
    run = read(connect(store), "s").sweeps[0].run_id
    assert _served_by_ui(moved, f"get-artifact?path=plan.json&run_uuid={run}").startswith(b"{")

    assert "1 done before, 0 to do" in _sweep([*asked, str(moved)])
    assert not (tmp_path / "a").exists()


def _sweep(arguments: list[str]) -> str:
    """Run a sweep in a process of its own, because MLflow and matplotlib remember places, and return its output."""
    command = [sys.executable, "-m", "orchestrator.sweep", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _served_by_ui(folder: Path, path: str) -> bytes:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    without_screen = {key: value for key, value in os.environ.items() if key not in SCREENS}
    command = [sys.executable, "-m", "orchestrator.ui", "s", "--output", str(folder), "--port", str(port)]
    with subprocess.Popen(command, env=without_screen, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it answers now
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            content: bytes = answer.read()
        process.send_signal(signal.SIGINT)
    return content
