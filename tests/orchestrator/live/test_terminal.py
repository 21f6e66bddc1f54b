"""A sweep goes on where nobody reads what it prints, and does not fail because of it."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from orchestrator.live.terminal import LastingStream
from orchestrator.results.results import read
from orchestrator.results.store import connect

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
