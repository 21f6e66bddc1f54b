"""The command that opens MLflow's pages: what it refuses, and a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from invented_sweep import Store

from orchestrator.command_line import SCREENS
from orchestrator.ui import main


def test_what_cannot_be_opened_is_one_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = {
            ("--output", str(tmp_path)): "there is no file",
            ("smal", "--tracking-uri", store.uri): "did you mean 'small'?",
            ("small", "--tracking-uri", store.uri, "--port", port): f"port {port} is taken",
        }
        for arguments, said in refused.items():
            assert main(arguments) == 2
            told = capsys.readouterr()
            assert told.out == "" and told.err.count("\n") == 1 and said in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_serves_the_newest_experiment_until_it_is_ended(store: Store) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    without_screen = {key: value for key, value in os.environ.items() if key not in SCREENS}
    command = [sys.executable, "-m", "orchestrator.ui", "--tracking-uri", store.uri, "--port", str(port)]
    with subprocess.Popen(command, env=without_screen, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?")
        assert "viewStateShareKey=pruning-sweep " in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
