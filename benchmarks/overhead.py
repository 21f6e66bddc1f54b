"""Orchestration overhead: wall time of a whole sweep over what its trials computed, at perfect packing.

    python -m benchmarks.overhead [SPACE] [--runs 3]

The wall time is that of the whole command, from an empty folder to the report: interpreter, imports, Ray, MLflow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trainables.outbox import read


def one_sweep(space: str) -> tuple[float, float]:
    """Wall seconds of a sweep, and the seconds its trials computed."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "orchestrator.sweep", space, "--output", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        records = (Path(folder) / "checkpoints").iterdir()
        computed = sum(
            event["metrics"]["time/total_seconds"]
            for record in records
            for event, _ in read(record)
            if "time/total_seconds" in event.get("metrics", {})
        )
    return wall, computed


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", nargs="?", default="digits")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    slots = os.cpu_count() or 1
    ratios = []
    for number in range(args.runs):
        wall, computed = one_sweep(args.space)
        ratios.append(wall / (computed / slots))
        print(f"run {number + 1}: wall {wall:.1f} s, trials {computed:.1f} s on {slots} slots: {ratios[-1]:.3f}")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}"
    print(f"overhead of {args.space}: wall / (computed / slots) = {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
