"""Execution of trials by Ray Tune. Ray only runs trials; which of them are done is read from their own event logs.

So Tune never restores its state: after any failure a fresh Tuner runs the trials that are not done.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.live.early_stopping_groups import EarlyStoppingGroups
from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.live.uploader import Uploader
from orchestrator.planning.resources import Resources, concurrency
from orchestrator.ray_driver.early_stopping import EarlyStoppingScheduler, GroupedEarlyStopping
from orchestrator.ray_driver.gpu_health import Gpu, GpuHealth
from orchestrator.ray_driver.nodes import alive, lacking, to_come
from orchestrator.ray_driver.ray_patches import (
    forget,
    silence_death_reports,
    survive_the_memory_monitor,
    write_no_state,
)
from orchestrator.ray_driver.signals import Flag, is_up, of_gpu, of_one
from orchestrator.ray_driver.trial_queue import Attempts, TrialQueue
from pruners.errors import words
from trainables.context import Place
from trainables.on_ray.trial import Compared, ray_trial
from trainables.versions import versions

ATTEMPTS = 4  # at a trial whose process dies; a trial that raises an error is recorded and not tried again
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
        watch: Uploader,
        handing: TrialQueue,
        stop: Stop,
        flag: Flag,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
    ) -> None:
        self._watch, self._handing, self._stop, self._health = watch, handing, stop, health
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
        bad = self._health.given_up
        # Tune does not have all waiting trials, but each of them needs at least this much.
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
            self._watch.started(fingerprint)

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
        if "end" in result and self._handing.out(fingerprint):
            self._ended(fingerprint, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Free Tune's statistics of a trial that it is done with."""
        forget(trial)

    def _ended(self, fingerprint: str, result: dict[str, Any]) -> None:
        """Handle the end that a trial reported: queue it again, or pass its end on."""
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
        if end == "misplaced" and not self._stop():  # all other trials would end the same way
            self._stop.request(result["error"])
        if fingerprint in self._watch.begun:
            recorded = end if end in ("finished", "stopped") else None
            self._watch.ended(fingerprint, result["error"] if end == "failed" else None, recorded)
            if end not in ("interrupted", "misplaced", "elsewhere"):  # these continue when the command is run again
                self._handing.ended(fingerprint, result["epoch"] if end == "stopped" else None, end == "finished")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Queue a trial again whose process died, for another process, unless it died too often."""
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
    """Return True if Ray's memory monitor killed the trial's last process, by the text of Tune's error file."""
    with suppress(OSError, TypeError):  # without an error there is no file
        return "running low on memory" in Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure #")[2]
    return False


def _where(trial: Any) -> str:
    """Return the node id of a trial's process; "" if Ray does not know it."""
    # No public call knows it without the dashboard.
    known = ray._private.state.actors(trial.temporary_state.ray_actor._actor_id.hex())
    return str(known.get("Address", {}).get("NodeID", ""))


SLOTS_TO_COME = 8  # assumed number of trials that run at once while no node has joined yet


class QueueSearcher(Searcher):
    """Tune searcher that takes trials from our queue. Pickled without state: sweeps are never restored by Tune."""

    def __init__(
        self,
        handing: TrialQueue,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
        fairness: GroupedEarlyStopping | None = None,
    ) -> None:
        """Take trials from `handing`, with the GPU share from `attempts`; add each to `fairness`.

        While a GPU is suspected (`health`) no trials are taken. If all trials have the same GPU share, at most one
        waits for room, because waiting trials would go to a bad GPU one after the other. More may wait if an autoscaler
        may add nodes for them.
        """
        super().__init__()
        self._handing, self._attempts, self._resources, self._fairness = handing, attempts, resources, fairness
        self._health = health
        self._few = bool(resources.gpus) and not resources.auto and not to_come()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial as Tune's config, whose "point" is the argument of `ray_trial`; None if none now."""
        if self._handing.over:
            return Searcher.FINISHED
        self._health.look()  # while no trial runs, Tune calls only this method and no callback
        slots = self._slots()
        if self._health.waiting or (self._few and self._handing.outstanding > slots):
            return None
        trial = self._handing.next(slots)
        if trial is None:
            return Searcher.FINISHED if self._handing.over else None
        if self._fairness:
            self._fairness.enter(trial)
        point = {"fingerprint": trial.fingerprint, "trial": trial.model_dump_json()}
        return {"point": point | self._attempts.share(trial.fingerprint)}

    def _slots(self) -> int:
        """Return how many trials can run at once on the nodes that are alive."""
        nodes = alive(self._health.given_up)
        here = concurrency(self._resources, *({"CPU": 0, "GPU": 0} | node for node in nodes.values()))
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `TrialCallback` handles the end of trials."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state to restore."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: sweeps are never restored by Tune."""


RESTARTS = 3  # consecutive failures of Tune itself, not of trials


def run_on_ray(
    source: Source,
    place: Place,
    resources: Resources,
    watch: Uploader,
    scratch: Path,
    stop: Stop,
    rivals: EarlyStoppingGroups | None = None,
    health: GpuHealth | None = None,
) -> bool:
    """Run the trials of `source` on the connected Ray; return False if the run was stopped.

    With `rivals`, trials of `source` that fall behind others are stopped early.
    `scratch` is a folder for files that Tune always writes; it is removed afterwards.
    """
    survive_the_memory_monitor()
    write_no_state()
    silence_death_reports()
    attempts = Attempts(resources.gpus, resources.shares)
    handing = TrialQueue(source, stop)
    fairness = GroupedEarlyStopping(rivals) if rivals else None
    failures = 0  # of Tune, consecutive
    fault: Exception | None = None
    health = health or GpuHealth(watch.notice)
    health.notice = watch.notice
    with Flag(stop) as flag:
        health.avoid = flag.avoid
        while handing.begin():  # one Tuner is enough, unless Tune itself fails
            tell = TrialCallback(watch, handing, stop, flag, attempts, resources, health)
            asking = QueueSearcher(handing, attempts, resources, health, fairness)
            known = len(watch.over)
            try:
                _fit(asking, place, resources, tell, scratch, flag, fairness)
            except Exception as error:  # noqa: BLE001 - Ray's errors of any kind, of a lost node for example
                fault = error
                watch.notice(
                    f"Ray Tune stopped ({words(error)[:200]}); it is started again for the trials that are left"
                )
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            failures = 0 if known != len(watch.over) else failures + 1
            if failures > RESTARTS:
                logging.getLogger(__name__).warning("Ray Tune stops again and again", exc_info=fault)
                break
    for fingerprint in watch.begun - watch.over:  # trials whose end Tune did not report
        watch.ended(fingerprint, None if stop() else DIED)
    return not stop()


def _fit(
    asking: QueueSearcher,
    place: Place,
    resources: Resources,
    tell: TrialCallback,
    scratch: Path,
    flag: Flag,
    fairness: GroupedEarlyStopping | None,
) -> None:
    key = flag.key
    compared = None
    if fairness is not None:
        stopping = fairness.rivals.stopping
        compared = Compared(stopping.metric, stopping.rule, lambda fingerprint: is_up(of_one(key, fingerprint)))
    ours = versions()

    def trainable(config: dict[str, Any]) -> None:  # a new function each time, because with_resources modifies it
        ray_trial(config["point"], place, lambda: is_up(key), ours, compared, lambda *gpu: is_up(of_gpu(key, *gpu)))

    def asked(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": config["point"]["gpus"]}] * resources.workers)

    tune.Tuner(
        tune.with_resources(trainable, asked),
        tune_config=tune.TuneConfig(
            search_alg=asking,
            scheduler=EarlyStoppingScheduler(fairness, flag) if fairness else None,
            num_samples=-1,  # as many as the searcher returns
            max_concurrent_trials=resources.max_concurrent,
            reuse_actors=True,  # a fresh process costs seconds of importing torch
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=0),  # `TrialCallback` queues trials again whose process died
            callbacks=[tell],
            verbose=0,
        ),
    ).fit()
