"""What only a GPU can tell: numbers, memory, faults and speed, in at most eight minutes and without Ray or MLflow.

    python -m benchmarks.gpu [CHECK ...] [--small]

Each check is a process of its own with a limit of its own: one that fails or hangs stops no other. A row is "ok" or a
"FAIL" where something is to be held, and else "reported"; the exit code is 1 if any FAILs. With `--small` all is tiny,
for a pretended GPU, whose speed says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.gpu.checks import CHECKS
from benchmarks.gpu.harness import Result

SECONDS = 480.0
LEFT = 5.0  # seconds in which no check is begun
GRACE = 10.0  # seconds in which a check that took too long may end what it started


def main() -> int:
    """Run the checks one after the other, and print their rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK", help=f"checks to run, of {', '.join(CHECKS)} (default: all)"
    )
    parser.add_argument("--small", action="store_true", help="use tiny sizes, for a pretended GPU")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="time limit of all checks; those after it are skipped"
    )
    args = parser.parse_args()
    chosen = args.checks or list(CHECKS)
    if unknown := [name for name in chosen if name not in CHECKS]:
        return _refused(f"{unknown[0]} is not a check; choose from {', '.join(CHECKS)}")
    if not torch.cuda.is_available():
        return _refused("torch finds no CUDA GPU on this machine")
    print("| check | verdict | figures |\n| --- | --- | --- |", flush=True)
    begun = time.monotonic()
    verdicts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="gpu", ignore_cleanup_errors=True) as folder:
        for name in chosen:
            left = args.seconds - (time.monotonic() - begun)
            limit = left if args.small else min(left, CHECKS[name].seconds)
            started = time.monotonic()
            for result in _rows(name, Path(folder), args.small, limit):
                verdicts[result.verdict] += 1
                print(f"| {result.check} | {result.verdict} | {_cell(result.figures)} |", flush=True)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"\n{told}; {time.monotonic() - begun:.0f} s")
    return 1 if verdicts["FAIL"] else 0


def _refused(why: str) -> int:
    print(f"gpu: {why}", file=sys.stderr)
    return 2


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _rows(name: str, folder: Path, small: bool, limit: float) -> Iterator[Result]:
    """Yield what a check finds, in a process that is ended after so many seconds."""
    if limit < LEFT:
        yield Result(name, "skipped", "no time was left")
        return
    command = [sys.executable, "-m", "benchmarks.gpu.checks", name, str(folder)] + ["--small"] * small
    errors = folder / f"{name}.errors"
    with errors.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True)
        late = threading.Event()
        timer = threading.Timer(limit, _end, (process, late))
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                with suppress(ValueError):  # a word of some library
                    yield Result(**json.loads(line))
            process.wait()
        finally:
            timer.cancel()
            _kill(process)
    if late.is_set():
        yield Result(name, "FAIL", f"did not end within {limit:.0f} s")
    elif process.returncode:
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
        yield Result(name, "FAIL", f"ended with {process.returncode}: {lines[-1][:200]}")


def _end(process: subprocess.Popen[str], late: threading.Event) -> None:
    """End a check that takes too long: first it alone, which ends what it started; then all of it."""
    late.set()
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a check and of the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
