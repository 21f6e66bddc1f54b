"""Interim report of a running sweep: written every few minutes by a separate process and logged to the sweep's run.

The process is separate because drawing two thousand trials takes half a minute of a core, which would slow the driver's
threads. An error in that process does not affect the sweep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

EVERY_SECONDS = 300.0
REST = 20.0  # the pause between two reports is at least this many times the duration of a report


class InterimReports(threading.Thread):
    """Thread that writes reports inside its context; the first after `every` seconds, so a short sweep has none."""

    def __init__(
        self, tracking_uri: str, experiment: str, run_id: str, folder: Path, every: float = EVERY_SECONDS
    ) -> None:
        super().__init__(name="interim report", daemon=True)
        self._command = [sys.executable, "-m", __name__, experiment, run_id, str(folder.resolve())]
        # Passed by the environment, because other users can see command lines, and a URI may contain a password.
        self._environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1"}
        self._every = every
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> InterimReports:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over.set()
            if self._child is not None:
                self._child.terminate()
        self.join(timeout=10)

    def run(self) -> None:
        """Write reports until the context is left."""
        pause = self._every
        while not self._over.wait(pause):
            started = time.monotonic()
            with suppress(OSError):  # no process can be started now
                self._report()
            pause = max(self._every, REST * (time.monotonic() - started))

    def _report(self) -> None:
        with self._lock:
            if self._over.is_set():
                return
            self._child = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C must reach only the sweep
            )
        self._child.wait()


def write(tracking_uri: str, experiment: str, run_id: str, folder: Path) -> None:
    """Write the report of all results so far into `folder` and to the sweep's run, and its answer into the run's notes.

    Raises:
        ReportError: if nothing has finished yet, or MLflow fails.
    """
    from orchestrator.report.mlflow_ui.notes import write_notes
    from orchestrator.report.write import compose
    from orchestrator.results.results import read
    from orchestrator.results.store import connect, mlflow_errors
    from trainables.record.files import write_atomically

    client = connect(tracking_uri)
    results = read(client, experiment)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    content = compose(results, tracking_uri, kinds=("svg",))[page.name]
    write_atomically(page, lambda path: path.write_bytes(content))
    with mlflow_errors():
        client.log_artifact(run_id, str(page))
    write_notes(client, results, run_id)


def main(arguments: Sequence[str] = sys.argv[1:]) -> None:
    """Run the process that writes one report. Its exit code is ignored."""
    if hasattr(os, "nice"):
        os.nice(10)
    experiment, run_id, folder = arguments
    write(os.environ["MLFLOW_TRACKING_URI"], experiment, run_id, Path(folder))


if __name__ == "__main__":
    main()
