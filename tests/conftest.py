"""What every test may rely on: one thread, no telemetry, nothing written outside its own folder."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # two cores, and results that do not depend on how many
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
