"""The whole table of what is measured of speed, in less than twenty minutes on two cores.

    python -m benchmarks [PART ...]

Each part is a command of its own, run here with few rounds; by itself it takes more. What is measured of answers
instead is `make bench-answers`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec

from benchmarks.rows import HEADER

PARTS = {
    "trial": ["--rounds", "3"],
    "data": ["--runs", "3"],
    "grid": ["--rounds", "1"],
    "overhead": ["--runs", "1"],
    "scale": ["--trials", "100", "300"],
    "compaction": ["--networks", "resnet20", "vgg16-bn", "--pruners", "synflow", "--granularities", "weight"],
}


def main() -> int:
    """Run the parts one after the other; returns 1 if one of them could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"parts to run, of {', '.join(PARTS)} (default: all)")
    chosen = parser.parse_args().parts or [part for part in PARTS if find_spec(f"benchmarks.{part}")]
    if unknown := [part for part in chosen if part not in PARTS]:
        parser.error(f"{unknown[0]} is not a part; choose from {', '.join(PARTS)}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in ("torch", "torchvision", "ray", "mlflow")
    )
    print(f"{os.cpu_count()} cores, load {load}; {versions}\n\n{HEADER}", flush=True)
    started, failed = time.perf_counter(), []
    for part in chosen:
        command = [sys.executable, "-m", f"benchmarks.{part}", *PARTS[part]]
        ran = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
        if ran.returncode:
            failed.append(part)
            print(ran.stderr, file=sys.stderr)  # what a part says beside its rows is news only then
    minutes = (time.perf_counter() - started) / 60
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n{minutes:.0f} min, load {load}{'; not measured: ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
