"""Orchestration overhead: wall time of a whole sweep over what its trials computed, at perfect packing.

    python -m benchmarks.overhead [SPACE] [--set FIELD=VALUE ...] [--runs 3]

The wall time is that of the whole command, from an empty folder to the report: interpreter, imports, Ray, MLflow. If
nothing is asked for, sixteen trials of more than 30 s on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import cost
from trainables.record.event_log import read

LONG = ["architecture=resnet20", "pruner=[random, magnitude]", "compression=[2, 10]", "seed=[0, 1, 2, 3]", "epochs=85"]


def one_sweep(space: str, overrides: list[str]) -> tuple[float, float, int]:
    """Wall seconds of a sweep, the seconds its trials computed, and how many they were."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "orchestrator.sweep", space, "--output", folder]
        command += [part for override in overrides for part in ("--set", override)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        records = (Path(folder) / "checkpoints").iterdir()
        computed = [
            event["metrics"]["time/total_seconds"]
            for record in records
            for event, _ in read(record)
            if "time/total_seconds" in event.get("metrics", {})
        ]
    return wall, sum(computed), len(computed)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", nargs="?", default="digits")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="overrides")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    overrides = args.overrides or (LONG if args.space == "digits" else [])
    slots = os.cpu_count() or 1
    ratios, each = [], 0.0
    for _ in range(args.runs):
        wall, computed, trials = one_sweep(args.space, overrides)
        ratios.append(wall / (computed / slots))
        each = computed / trials
    held = 1.1 if each >= 30 else None
    name = f"orchestration overhead, {trials} trials of {each:.0f} s: wall / (computed / {slots} slots)"
    print(cost(name, ratios, held=held), flush=True)


if __name__ == "__main__":
    main()
