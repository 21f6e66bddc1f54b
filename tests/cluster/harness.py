"""Real raylets, a real MLflow server and the real command, and ways to kill each of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import torch
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from trainables.record import checkpoint
from trainables.record.checkpoint import CHECKPOINT
from trainables.record.event_log import ended, read

# Ray's own token would lie in a home folder; these clusters live for a test and listen on this machine only.
OPEN = {"RAY_AUTH_MODE": "disabled"}
# A process that is not there within Ray's usual minute is started again; on few cores that makes all of them slower.
PATIENT = {"worker_register_timeout_seconds": 600}


def until(condition: Callable[[], object], what: str, seconds: float = 300, pause: float = 0.05) -> None:
    """Wait for something that will happen, and fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(pause)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Nodes:
    """A Ray cluster on this machine: a head that runs no trial, and workers that can be killed."""

    def __init__(self, workers: int, cpus: int = 2, gpus: int = 0) -> None:
        self._shape = {"num_cpus": cpus, "num_gpus": gpus}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "_system_config": PATIENT}
        )
        self._workers = [self._cluster.add_node(**self._shape) for _ in range(workers)]
        self.address = self._cluster.address

    def kill(self) -> None:
        """SIGKILL a worker node with all that runs on it."""
        self._cluster.remove_node(self._workers.pop(0), allow_graceful=False)

    def join(self) -> None:
        """Let another worker node join."""
        self._workers.append(self._cluster.add_node(**self._shape))

    def trials(self) -> list[int]:
        """The processes of trials on the workers."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self._workers]
        return [pid for pid, parent, command in processes() if parent in raylets and "ImplicitFunc" in command]

    def stop(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def processes() -> list[tuple[int, int, str]]:
    """Process, parent and command line of all that runs here."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in listing.splitlines())
    return [(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]


class Server:
    """`mlflow server` on loopback over a database URI, which can be killed and started again."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder, self._database, self._port = folder, database, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it and wait for it to answer."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", self._database, "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, "the MLflow server answers")

    def kill(self) -> None:
        """SIGKILL it and its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        with suppress(URLError, OSError), urlopen(f"{self.uri}/health", timeout=2):
            return True
        return False


@dataclass(frozen=True)
class Sweep:
    """The command on a folder of its own, as often as one likes."""

    folder: Path
    arguments: tuple[str, ...]
    epochs: int

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """The command, started, and killed if the test fails while it runs."""
        driver = self.start()
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait()

    def start(self) -> subprocess.Popen[str]:
        """Start the command."""
        command = [sys.executable, "-m", "orchestrator.sweep", *self.arguments, "--output", str(self.folder / "out")]
        environment = os.environ | OPEN | {"HOME": str(self.folder / "home")}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def finish(self) -> None:
        """Run the command to its end; everything must be done then."""
        process = self.start()
        out, _ = process.communicate(timeout=900)  # a bound for what hangs; busy machines are slow
        assert process.returncode == 0, out

    @property
    def records(self) -> Path:
        """Where the trials keep their records."""
        return self.folder / "out" / "checkpoints"

    def recorded(self) -> int:
        """Epochs recorded so far by all trials together."""
        folders = list(self.records.glob("*")) if self.records.exists() else []
        return sum("train/loss" in event.get("metrics", {}) for folder in folders for event, _ in read(folder))

    def unsaved(self) -> int:
        """Epochs recorded since their trial's last checkpoint: who is killed now computes them once more."""
        count = 0
        for folder in self.records.glob("*"):
            if folder.is_dir() and ended(folder) is None:
                steps = [event["step"] for event, _ in read(folder) if "train/loss" in event.get("metrics", {})]
                state = checkpoint.load(folder / CHECKPOINT, torch.device("cpu")) or {}
                count += max(steps, default=0) - state.get("progress", {}).get("epoch", 0)
        return count

    def saving(self) -> bool:
        """Whether a checkpoint is being written right now."""
        with suppress(OSError):
            for trial in os.scandir(self.records):
                if trial.is_dir() and any(e.name.startswith(".checkpoint.") for e in os.scandir(trial)):
                    return True
        return False

    def results(self, tracking_uri: str, experiment: str) -> dict[str, dict[str, float]]:
        """Final metrics by fingerprint, after making sure that MLflow has all, and every epoch exactly once."""
        client = MlflowClient(tracking_uri)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = client.search_runs([found.experiment_id], "tags.kind = 'trial'")
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            for key in ("train/loss", "test/top1"):
                steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, key))
                assert steps == dict.fromkeys(range(1, self.epochs + 1), 1), (run.info.run_name, key, steps)
        fingerprints = [run.data.tags["fingerprint"] for run in runs]
        assert len(set(fingerprints)) == len(fingerprints)
        assert not client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'")
        return {run.data.tags["fingerprint"]: final(run.data.metrics) for run in runs}


def final(metrics: Mapping[str, float]) -> dict[str, float]:
    """What must be the same to the last bit however often a trial was killed."""
    return {key: metrics[key] for key in ("final/top1", "final/loss", "best/top1", "model/params_kept")}
