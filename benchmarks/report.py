"""The report of a large sweep: seconds and memory, from a database file and from an MLflow server over HTTP.

    python -m benchmarks.report [--trials 2000] [--epochs 160] [--keep FOLDER]

The store is made first, which is not measured. The targets are 60 s and 2 GiB for 2,000 trials of 160 epochs.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.large_store import build

SECONDS, BYTES = 60, 2 * 2**30


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """An MLflow server over the store in `folder`, on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
               "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        uri = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield uri
    finally:
        server.terminate()
        server.wait()
        log.close()


def measure(uri: str, output: Path) -> tuple[float, int]:
    """Wall seconds of the command, and the bytes it held at most."""
    command = [sys.executable, "-m", "orchestrator.report", "large", "--tracking-uri", uri, "--output", str(output)]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--no-log"], stdout=subprocess.DEVNULL) as process:
        # wait4 and not RUSAGE_CHILDREN: that would be the largest of all children so far, the server's too.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"the report failed with exit code {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--keep", type=Path, help="keep the store and the reports in this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = given.keep or Path(temporary)
        for kind in ("file", "http"):
            folder = root / kind
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "mlflow.db").exists():
                build(folder, "large", given.trials, given.epochs, remote=kind == "http")
            if kind == "http":
                with served(folder) as uri:
                    seconds, peak = measure(uri, folder / "report")
            else:
                seconds, peak = measure(f"sqlite:///{folder / 'mlflow.db'}", folder / "report")
            print(
                f"report of {given.trials} trials x {given.epochs} epochs, {kind}: {seconds:.1f} s "
                f"({seconds / SECONDS:.2f} of the target), {peak / 2**20:.0f} MiB ({peak / BYTES:.2f} of the target)"
            )


if __name__ == "__main__":
    main()
