"""Tune callback that passes the starts, results and deaths of trials on, and decides which are tried again."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.live.interrupt import Stop
from orchestrator.live.uploader import Uploader
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.gpu_health import Gpu, GpuHealth
from orchestrator.ray_driver.nodes import to_come, why_no_node
from orchestrator.ray_driver.ray_patches import free_statistics
from orchestrator.ray_driver.signals import Flag
from orchestrator.ray_driver.trial_queue import Attempts, TrialQueue

ATTEMPTS = 4  # at a trial whose process dies; a trial that raises an error is recorded and not tried again
CONTINUED = ("interrupted", "misplaced", "full", "elsewhere")  # trials that the same command continues
DIED = "the process of the trial died repeatedly: out of memory, or a crash in native code"
LOW_MEMORY = "Ray killed its process: the node had too little memory"  # host memory, not GPU memory
LOOK_SECONDS = 5.0  # between two checks of the nodes while nothing runs
WAIT_SECONDS = 600.0  # for a new node that can run the remaining trials


class TrialCallback(tune.Callback):
    """Tune callback that passes the starts, results and deaths of trials to `Uploader`, the queue and `GpuHealth`.

    Pickled without state: sweeps are never restored by Tune.
    """

    def __init__(
        self,
        uploader: Uploader,
        queue: TrialQueue,
        stop: Stop,
        flag: Flag,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
    ) -> None:
        self._uploader, self._queue, self._stop, self._health = uploader, queue, stop, health
        self._flag, self._attempts, self._resources = flag, attempts, resources
        self._nodes: dict[str, str] = {}  # node id on which each trial runs, or ran last
        self._gpus: dict[str, Gpu] = {}  # of trials that have exactly one
        self._began: dict[str, float] = {}  # start by `time.monotonic`
        self._broke: dict[str, str] = {}  # error of its GPU that a process reported before it ended
        self._avoiding: set[str] = set()  # trials that leave a suspected GPU
        self._heard: set[str] = set()  # trials that reported their end; their processes may die afterwards
        self._elsewhere: set[str] = set()  # trials that other processes compute, already shown to the user
        self._running: set[str] = set()
        self._until: set[str] | None = None  # after a stop: running trials that may still save
        self._looked = time.monotonic()
        self._stuck: float | None = None  # time since which no node can run the remaining trials

    def __getstate__(self) -> dict[str, object]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update GPU health at each step of Tune, and stop Tune if requested or if no node can run the rest."""
        self._health.look()
        running = self._running  # kept by us, because `trials` may be 10,000 long
        if not running and time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look([trial for trial in trials if trial.status == "PENDING"])
        if self._flag.raise_if_asked():
            self._until = (running if self._until is None else self._until) & running
            if not self._until or self._stop.impatient:
                os.kill(os.getpid(), signal.SIGUSR1)  # Tune handles this signal by a clean shutdown

    def _look(self, pending: list[Any]) -> None:
        """Request a stop, now or after a wait, if no node can run the remaining trials. Called while nothing runs."""
        most = max((trial.config["point"]["gpus"] for trial in pending), default=0)
        bad = self._health.broken_gpus
        # Tune does not have all waiting trials, but each of them needs at least this much.
        most = most or (self._resources.gpus if bad and not self._resources.auto else 0)
        why = why_no_node(self._resources, most, bad) if pending or bad else None
        if why is None:
            self._stuck = None
        elif bad and not to_come():
            self._stop.request(f"{why} that works.", grace=0)
        elif self._stuck is None:
            self._stuck = time.monotonic()
            self._uploader.notice(f"{why}; waiting {WAIT_SECONDS / 60:.0f} min for one")
        elif time.monotonic() - self._stuck > WAIT_SECONDS:
            self._stop.request(f"{why}, and none has joined.", grace=0)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the start of a trial, which now has its resources and a process."""
        self._stuck = None
        fingerprint = trial.config["point"]["fingerprint"]
        self._running.add(fingerprint)
        self._nodes[fingerprint] = _where(trial)
        self._began[fingerprint] = time.monotonic()
        self._heard.discard(fingerprint)
        if not self._flag.raise_if_asked():  # if raised, the trial sees the flag and does not begin
            self._uploader.started(fingerprint)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record what a trial reports: its nodes and GPU, a broken GPU, or its end."""
        fingerprint = result.get("fingerprint", "")
        if "nodes" in result:  # the trial has several workers
            self._nodes[fingerprint] = result["nodes"]
        if "gpu" in result and "," not in result["gpu"]:
            self._gpus[fingerprint] = Gpu(self._nodes[fingerprint], result["gpu"])
        if result.get("avoided"):
            self._avoiding.add(fingerprint)
        if "broken" in result:
            self._broke[fingerprint] = result["broken"]
        if "end" in result:
            self._heard.add(fingerprint)
        if "end" in result and self._queue.out(fingerprint):
            self._ended(fingerprint, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free Tune's statistics of a trial that it is done with."""
        free_statistics(trial)

    def _ended(self, fingerprint: str, result: dict[str, Any]) -> None:
        """Handle the end that a trial reported: queue it again, or pass its end on."""
        self._running.discard(fingerprint)
        end = result["end"]
        self._health.worked(fingerprint, self._gpus.pop(fingerprint, None))
        if end == "memory":
            had, gets = self._attempts.grow(fingerprint)
            name = self._uploader.name_of(fingerprint)
            self._uploader.notice(f"{name}: out of memory with {had:g} of a GPU; it is tried again with {gets:g}")
            self._queue.again(fingerprint)
            return
        if end in ("elsewhere", "superseded") and fingerprint not in self._elsewhere:
            self._elsewhere.add(fingerprint)
            self._uploader.notice(f"{self._uploader.name_of(fingerprint)}: {result['error']}")
        if end == "elsewhere" and not self._stop():
            self._queue.later(fingerprint)
            return
        if end == "misplaced" and not self._stop():  # all other trials would end the same way
            self._stop.request(result["error"])
        if end == "full":
            self._stop.disk_full(result["error"])
        if fingerprint in self._uploader.begun:
            recorded = end if end in ("finished", "stopped") else None
            self._uploader.ended(fingerprint, result["error"] if end == "failed" else None, recorded)
            if end not in CONTINUED:
                self._queue.ended(fingerprint, result["epoch"] if end == "stopped" else None, end == "finished")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Queue a trial again whose process died, for another process, unless it died too often."""
        fingerprint = trial.config["point"]["fingerprint"]
        self._running.discard(fingerprint)
        low = _low_memory(trial)
        free_statistics(trial)
        gpu, began = self._gpus.pop(fingerprint, None), self._began.pop(fingerprint, 0.0)
        node, broke = self._nodes.pop(fingerprint, ""), self._broke.pop(fingerprint, "")
        if fingerprint in self._heard:
            return
        if fingerprint in self._avoiding:
            self._avoiding.discard(fingerprint)
            self._queue.again(fingerprint)
            return
        if not low:
            self._health.died(fingerprint, gpu, began, broke)
        name = self._uploader.name_of(fingerprint)
        if self._attempts.died(fingerprint, node, gpu, self._health.broken_gpus) >= ATTEMPTS:
            times = f"{LOW_MEMORY if low else broke}, {ATTEMPTS} times"
            self._uploader.ended(fingerprint, times if low or broke else DIED)
            self._queue.ended(fingerprint)
            return
        if low or broke:
            why = LOW_MEMORY if low else f"its GPU broke ({broke})"
            self._uploader.notice(f"{name}: {why}; it is tried again")
        self._queue.again(fingerprint)


def _low_memory(trial: Any) -> bool:
    """Return True if Ray's memory monitor killed the trial's last process, by the text of Tune's error file."""
    with suppress(OSError, TypeError):  # without an error there is no file
        return "running low on memory" in Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure #")[2]
    return False


def _where(trial: Any) -> str:
    """Return the node id of a trial's process; "" if Ray does not know it."""
    # No public call knows it without the dashboard.
    known = ray._private.state.actors(trial.temporary_state.ray_actor._actor_id.hex())
    return str(known.get("Address", {}).get("NodeID", ""))
