"""Metrics that differ between two runs of one trial, because they are times."""

from __future__ import annotations

from trainables.metrics import METRICS

SPEED = {"model/latency_ms", "model/speedup", "model/speedup_spread"}
TIMED = SPEED | {name for name in METRICS if name.startswith("time/")}
