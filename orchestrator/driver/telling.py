"""What Tune tells while it runs, told on: to the watch, to people, and to the book of attempts."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.costs.resources import Resources
from orchestrator.driver.attempts import Attempts
from orchestrator.driver.corrections import forget
from orchestrator.driver.flag import Flag
from orchestrator.driver.gpu_health import Gpu, GpuHealth
from orchestrator.driver.handing import Handing
from orchestrator.driver.nodes import lacking, to_come
from orchestrator.live.stopping import Stop
from orchestrator.live.watch import Watch

ATTEMPTS = 4  # of one trial whose process dies; what fails by itself is recorded and not tried again
DIED = "the process of the trial died, again and again: out of memory, or a crash below Python"
LOW_MEMORY = "Ray killed its process: the node had too little memory"  # its own, not that of a GPU
LOOK_SECONDS = 5.0  # between two looks at the nodes, when nothing runs
WAIT_SECONDS = 600.0  # for a node that can run what is left, when the last one is gone


class TellWatch(tune.Callback):
    """Tune pickles its callbacks: all that this one knows stays out of that."""

    def __init__(
        self,
        watch: Watch,
        handing: Handing,
        stop: Stop,
        flag: Flag,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
    ) -> None:
        self._watch, self._handing, self._stop, self._health = watch, handing, stop, health
        self._flag, self._attempts, self._resources = flag, attempts, resources
        self._nodes: dict[str, str] = {}  # where each trial runs, or ran last
        self._gpus: dict[str, Gpu] = {}  # of trials that have one
        self._began: dict[str, float] = {}  # when, as `time.monotonic` has it
        self._broke: dict[str, str] = {}  # what a process said of its GPU before it ended
        self._avoiding: set[str] = set()  # the trials that leave a suspected GPU
        self._heard: set[str] = set()  # the trials of which the end was told, should their processes die after it
        self._elsewhere: set[str] = set()  # the trials of which other processes are known to compute them
        self._running: set[str] = set()
        self._until: set[str] | None = None  # the trials whose end of epoch is waited for, once it is to stop
        self._looked = time.monotonic()
        self._stuck: float | None = None  # since when no node can run what is left

    def __getstate__(self) -> dict[str, object]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune turns once more: stop it if that is the order, or if it would turn for ever."""
        self._health.look()
        running = self._running  # and not a look at all trials: there may be 10,000
        if not running and time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look([trial for trial in trials if trial.status == "PENDING"])
        if self._flag.raise_if_asked():
            self._until = (running if self._until is None else self._until) & running
            if not self._until or self._stop.impatient:
                os.kill(os.getpid(), signal.SIGUSR1)  # Tune listens to it while it runs, and ends in good order

    def _look(self, pending: list[Any]) -> None:
        """Nothing runs: is there a node that will ever run what is left?"""
        most = max((trial.config["point"]["gpus"] for trial in pending), default=0)
        bad = self._health.given_up
        # Trials that wait are not all with Tune, but each of them gets at least that.
        most = most or (self._resources.gpus if bad and not self._resources.auto else 0)
        why = lacking(self._resources, most, bad) if pending or bad else None
        if why is None:
            self._stuck = None
        elif bad and not to_come():
            self._stop.request(f"{why} that works.", grace=0)
        elif self._stuck is None:
            self._stuck = time.monotonic()
            self._watch.notice(f"{why}; waiting {WAIT_SECONDS / 60:.0f} min for one")
        elif time.monotonic() - self._stuck > WAIT_SECONDS:
            self._stop.request(f"{why}, and none came.", grace=0)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial got its resources, and a process."""
        self._stuck = None
        fingerprint = trial.config["point"]["fingerprint"]
        self._running.add(fingerprint)
        self._nodes[fingerprint] = _where(trial)
        self._began[fingerprint] = time.monotonic()
        self._heard.discard(fingerprint)
        if not self._flag.raise_if_asked():  # else it sees the flag, and does not begin
            self._watch.started(fingerprint)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Where a trial is, an epoch, or its end."""
        fingerprint = result.get("fingerprint", "")
        if "nodes" in result:  # of several workers
            self._nodes[fingerprint] = result["nodes"]
        if "gpu" in result and "," not in result["gpu"]:
            self._gpus[fingerprint] = Gpu(self._nodes[fingerprint], result["gpu"])
        if result.get("avoided"):
            self._avoiding.add(fingerprint)
        if "broken" in result:
            self._broke[fingerprint] = result["broken"]
        if "end" in result:
            self._heard.add(fingerprint)
        if "end" in result and self._handing.out(fingerprint):
            self._ended(fingerprint, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune is done with a trial."""
        forget(trial)

    def _ended(self, fingerprint: str, result: dict[str, Any]) -> None:
        """A trial is over, having recorded how it ended."""
        self._running.discard(fingerprint)
        end = result["end"]
        self._health.worked(fingerprint, self._gpus.pop(fingerprint, None))
        if end == "memory":
            had, gets = self._attempts.grow(fingerprint)
            name = self._watch.name_of(fingerprint)
            self._watch.notice(f"{name}: out of memory with {had:g} of a GPU; it is tried again with {gets:g}")
            self._handing.again(fingerprint)
            return
        if end in ("elsewhere", "superseded") and fingerprint not in self._elsewhere:
            self._elsewhere.add(fingerprint)
            self._watch.notice(f"{self._watch.name_of(fingerprint)}: {result['error']}")
        if end == "elsewhere" and not self._stop():
            self._handing.later(fingerprint)
            return
        if end == "misplaced" and not self._stop():  # and so would all the others be, one by one
            self._stop.request(result["error"])
        if fingerprint in self._watch.begun:
            self._watch.ended(fingerprint, result["error"] if end == "failed" else None)
            if end not in ("interrupted", "misplaced", "elsewhere"):  # else the same command takes it up again
                self._handing.ended(fingerprint, result["epoch"] if end == "stopped" else None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process of a trial died: the trial is given again, to another process, if it has not died too often."""
        fingerprint = trial.config["point"]["fingerprint"]
        self._running.discard(fingerprint)
        low = _low_memory(trial)
        forget(trial)
        gpu, began = self._gpus.pop(fingerprint, None), self._began.pop(fingerprint, 0.0)
        node, broke = self._nodes.pop(fingerprint, ""), self._broke.pop(fingerprint, "")
        if fingerprint in self._heard:
            return
        if fingerprint in self._avoiding:
            self._avoiding.discard(fingerprint)
            self._handing.again(fingerprint)
            return
        if not low:
            self._health.died(fingerprint, gpu, began, broke)
        name = self._watch.name_of(fingerprint)
        if self._attempts.died(fingerprint, node, gpu, self._health.given_up) >= ATTEMPTS:
            times = f"{LOW_MEMORY if low else broke}, {ATTEMPTS} times"
            self._watch.ended(fingerprint, times if low or broke else DIED)
            self._handing.ended(fingerprint)
            return
        if low or broke:
            why = LOW_MEMORY if low else f"its GPU broke ({broke})"
            self._watch.notice(f"{name}: {why}; it is tried again")
        self._handing.again(fingerprint)


def _low_memory(trial: Any) -> bool:
    """Whether it was that of which the trial's process died last; Ray says so in many words, these among them."""
    with suppress(OSError, TypeError):  # no file, no error
        return "running low on memory" in Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure #")[2]
    return False


def _where(trial: Any) -> str:
    """The node of a trial's process, while it lives."""
    known = ray._private.state.actors(trial.temporary_state.ray_actor._actor_id.hex())
    return str(known.get("Address", {}).get("NodeID", ""))
