"""All checks by name, and one of them as a process of its own.

python -m benchmarks.gpu.checks CHECK FOLDER [--small]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu.compaction import compaction
from benchmarks.gpu.environment import environment, share
from benchmarks.gpu.faults import faults
from benchmarks.gpu.graphs import graphs
from benchmarks.gpu.harness import Result, Setting, imported
from benchmarks.gpu.launches import launches
from benchmarks.gpu.masks import masks
from benchmarks.gpu.memory import memory
from benchmarks.gpu.speed import speed
from benchmarks.gpu.teams import teams


@dataclass(frozen=True)
class Check:
    """What finds the rows, and how many seconds it may take on an H200."""

    find: Callable[[Setting], Iterator[Result]]
    seconds: float


# What matters most comes first, as time may run out. All of their seconds are more than the eight minutes there are:
# each is what a check takes if something is wrong.
CHECKS = {
    "environment": Check(environment, 45),
    "share": Check(share, 45),
    "faults": Check(faults, 60),
    "masks": Check(masks, 100),
    "graphs": Check(graphs, 100),
    "memory": Check(memory, 60),
    "speed": Check(speed, 150),
    "launches": Check(launches, 45),
    "compaction": Check(compaction, 60),
    "teams": Check(teams, 60),
}


def main() -> int:
    """Run a check; print each of its rows as JSON on a line of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # what it started is ended on the way out
    for result in CHECKS[args.check].find(Setting(args.folder, args.small)):
        print(json.dumps(asdict(result)), flush=True)
    if there := imported("ray", "mlflow"):
        print(json.dumps(asdict(Result(args.check, "FAIL", f"imported {', '.join(there)}"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
