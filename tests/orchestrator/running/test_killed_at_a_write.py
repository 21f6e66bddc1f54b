"""A sweep that is killed at any of its writes is done after the same command, equal, with nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KILLS = int(os.environ.get("KILLS", "3"))  # make test-soak takes 200


@pytest.fixture
def counter(tmp_path):
    """The library that counts writes, compiled here."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no g++ here")
    library = tmp_path / "kill_at_write.so"
    source = HERE / "kill_at_write.c"
    subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.slow
def test_killed_at_a_write_and_run_again(counter, tmp_path):
    folder = tmp_path / "sweeps"
    folder.mkdir()
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | one_thread | {"LD_PRELOAD": str(counter), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, HERE / "killed_sweeps.py", folder, str(KILLS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    came = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(came) == KILLS
    assert [each for each in came if not (each["killed"] and each["same"])] == [], done.stderr[-3000:]
