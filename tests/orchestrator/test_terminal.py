"""A sweep goes on where nobody reads what it prints, and does not fail because of it."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.audit.__main__ import main as audit
from orchestrator.report.__main__ import main as report
from orchestrator.results.results import read
from orchestrator.results.store import connect
from orchestrator.sweep import main as sweep
from orchestrator.terminal import LastingStream, say, terminal

SPACE = "dataset: digits\narchitecture: mlp\npruner: [random, magnitude]\ncompression: [2, 10]\nepochs: 2\n"


class Full(io.StringIO):
    """A stream whose terminal is gone."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_what_cannot_be_written_is_dropped():
    stream = LastingStream(Full())
    assert stream.write("abc") == 3
    stream.flush()
    closed = io.StringIO()
    closed.close()
    assert LastingStream(closed).write("abc") == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_takes_nothing_and_stops_nothing():
    with open_full() as file:
        stream = LastingStream(file)
        for _ in range(3):
            stream.write("x" * 100_000)
            stream.flush()
        file.write("after it was given up, the rest goes nowhere")
        file.flush()


class ZMQInteractiveShell:
    """Jupyter's shell, by the name of whose class rich knows a notebook."""


class OutStream(io.StringIO):
    """The stream of a notebook's kernel, which says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_notebook_gets_plain_lines(monkeypatch):
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(sys, "stdout", OutStream())
    with terminal().status("working"):
        say(terminal(), "a line", "red")
    assert sys.stdout.getvalue() == "a line\n"


def open_full():
    return Path("/dev/full").open("w", encoding="utf-8")


@pytest.mark.parametrize("command", [sweep, report, audit])
def test_a_refusal_that_cannot_be_told_is_a_refusal(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    assert command(["no-such-name", "--tracking-uri", "sqlite:///none.db"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")], ids="+".join)
def test_a_sweep_outlives_a_full_disk_for_what_it_prints(streams, tmp_path):
    space = tmp_path / "full.yaml"
    space.write_text(SPACE)
    command = [sys.executable, "-m", "orchestrator.sweep", str(space), "--local", "--output", str(tmp_path / "o")]
    with open_full() as full:
        done = subprocess.run(
            [*command, "--set", "pruner=random", "--set", "compression=2", "--set", "epochs=0"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(streams, full),
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert (tmp_path / "o" / "report" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a pipe nobody reads", "a terminal that is closed"])
def test_a_sweep_outlives_its_reader(where, tmp_path):
    space = tmp_path / "gone.yaml"
    space.write_text(SPACE)
    command = [sys.executable, "-m", "orchestrator.sweep", str(space), "--local", "--output", str(tmp_path / "o")]
    reader, writer = os.pipe() if where.startswith("a pipe") else os.openpty()
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, start_new_session=True)
    os.close(writer)
    os.read(reader, 1)  # it has begun
    os.close(reader)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    assert said == b""
    results = read(connect(f"sqlite:///{tmp_path / 'o' / 'mlflow.db'}"), "gone")
    assert [row.status for row in results.rows] == ["finished"] * 4
    assert (tmp_path / "o" / "report" / "report.html").exists()
