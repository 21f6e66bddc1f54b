"""What every test may rely on: one thread, no telemetry, nothing written outside its own folder."""

from __future__ import annotations

import os

import pytest
from late_folder import LateFolder

os.environ["OMP_NUM_THREADS"] = "1"  # two cores, and results that do not depend on how many
# Ray starts its workers with a niceness of 15: beside other tests they would get nearly nothing of two cores.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateFolder:
    """A shared folder that shows late what other nodes have written, until the test ends."""
    return LateFolder(monkeypatch)
