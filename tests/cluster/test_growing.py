"""A cluster without a single worker, to which they come because of the sweep, and from which they go after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
ALONE = ["unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
if os.getuid():
    ALONE += ["--user", "--map-root-user"]


def allowed() -> bool:
    """Whether this machine lets us have namespaces of our own."""
    try:
        return not subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode
    except OSError:  # `unshare` is not there
        return False


def test_workers_come_for_the_trials_and_go_after_them(tmp_path):
    if not allowed():
        pytest.skip("process and network namespaces are not allowed here, and Ray would stop every other Ray")
    command = [*ALONE, sys.executable, str(Path(__file__).with_name("growing.py")), str(tmp_path)]
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # the paths of Ray's sockets have little room
        environment = os.environ | {"RAY_TMPDIR": short, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "seen.json").read_text())
    assert told["finished"] == 6
    workers, most = told["workers"], max(told["workers"])
    top = workers.index(most)
    assert (workers[0], most, workers[-1]) == (0, 2, 0)
    assert workers == sorted(workers[:top]) + sorted(workers[top:], reverse=True)  # they come, then they go
