"""Trials on Ray Tune. Ray is the engine, not the ledger: what is done is read from the trials' own records.

So there is no restore: whatever happens, a fresh Tuner over the trials that are not done is right.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.live.early_stopping_groups import Rivals
from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import Source
from orchestrator.live.uploader import Watch
from orchestrator.planning.resources import Resources, concurrency
from orchestrator.ray_driver.early_stopping import Fairness, FairScheduler
from orchestrator.ray_driver.gpu_health import Gpu, GpuHealth
from orchestrator.ray_driver.nodes import alive, lacking, to_come
from orchestrator.ray_driver.ray_patches import forget, leave_deaths_to_us, survive_the_memory_monitor, write_no_state
from orchestrator.ray_driver.signals import Flag, is_up, of_gpu, of_one
from orchestrator.ray_driver.trial_queue import Attempts, Handing
from trainables.context import Place
from trainables.on_ray.trial import Compared, ray_trial
from trainables.versions import versions

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


SLOTS_TO_COME = 8  # how many trials run at once where all nodes are still to come


class Asking(Searcher):
    """Asks for Tune. Tune pickles its searchers: all that this one knows stays out of that."""

    def __init__(
        self,
        handing: Handing,
        attempts: Attempts,
        resources: Resources,
        health: GpuHealth,
        fairness: Fairness | None = None,
    ) -> None:
        """Take trials from `handing`, with the share that `attempts` has for each; `fairness` is told of them.

        While a GPU is suspected (`health`) there are none. And where GPUs are shared out evenly no more than one waits
        for room, unless more nodes may come for those that wait: else they would fill a bad GPU one after the other.
        """
        super().__init__()
        self._handing, self._attempts, self._resources, self._fairness = handing, attempts, resources, fairness
        self._health = health
        self._few = bool(resources.gpus) and not resources.auto and not to_come()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Give the next trial as Tune's config, as `ray_trial` takes its point; None if there is none now."""
        if self._handing.over:
            return Searcher.FINISHED
        self._health.look()  # where no trial runs Tune stays in here, and asks no one else
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
        """How many trials run at once on the nodes that are there."""
        nodes = alive(self._health.given_up)
        here = concurrency(self._resources, *({"CPU": 0, "GPU": 0} | node for node in nodes.values()))
        most = self._resources.max_concurrent
        return min(here or SLOTS_TO_COME, most or here or SLOTS_TO_COME)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The callback tells that, and knows more."""

    def save(self, checkpoint_path: str) -> None:
        """There is nothing that would be restored."""

    def restore(self, checkpoint_path: str) -> None:
        """Nor is it."""


RESTARTS = 3  # of a Tuner that failed, not a trial


def run_on_ray(
    source: Source,
    place: Place,
    resources: Resources,
    watch: Watch,
    scratch: Path,
    stop: Stop,
    shares: Mapping[str, float] | None = None,
    rivals: Rivals | None = None,
    health: GpuHealth | None = None,
) -> bool:
    """Run the trials of `source` on the connected Ray; False if it was stopped.

    `shares` are the GPUs of each trial by fingerprint, where they are not `resources.gpus`.
    `rivals`: those trials of `source` are given up that fall behind others.
    `scratch` is a folder for what Tune insists on writing; it is removed afterwards.
    """
    survive_the_memory_monitor()
    write_no_state()
    leave_deaths_to_us()
    attempts = Attempts(resources.gpus, shares or {})
    handing = Handing(source, stop)
    fairness = Fairness(rivals) if rivals else None
    failures = 0  # of Tune, one after the other
    health = health or GpuHealth(watch.notice)
    health.notice = watch.notice
    with Flag(stop) as flag:
        health.avoid = flag.avoid
        while handing.begin():  # one Tuner does it, unless Tune itself fails
            tell = TellWatch(watch, handing, stop, flag, attempts, resources, health)
            asking = Asking(handing, attempts, resources, health, fairness)
            known = len(watch.over)
            try:
                _fit(asking, place, resources, tell, scratch, flag, fairness)
            except Exception as error:
                logging.getLogger(__name__).warning("Ray Tune stopped: %s", error, exc_info=True)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            failures = 0 if known != len(watch.over) else failures + 1
            if failures > RESTARTS:
                break
    for fingerprint in watch.begun - watch.over:  # what Tune did not tell the end of
        watch.ended(fingerprint, None if stop() else DIED)
    return not stop()


def _fit(
    asking: Asking,
    place: Place,
    resources: Resources,
    tell: TellWatch,
    scratch: Path,
    flag: Flag,
    fairness: Fairness | None,
) -> None:
    key = flag.key
    compared = None
    if fairness is not None:
        stopping = fairness.rivals.stopping
        compared = Compared(stopping.metric, stopping.rule, lambda fingerprint: is_up(of_one(key, fingerprint)))
    ours = versions()

    def trainable(config: dict[str, Any]) -> None:  # a fresh function: with_resources changes what it is given
        ray_trial(config["point"], place, lambda: is_up(key), ours, compared, lambda *gpu: is_up(of_gpu(key, *gpu)))

    def asked(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": config["point"]["gpus"]}] * resources.workers)

    tune.Tuner(
        tune.with_resources(trainable, asked),
        tune_config=tune.TuneConfig(
            search_alg=asking,
            scheduler=FairScheduler(fairness, flag) if fairness else None,
            num_samples=-1,  # as many as there are
            max_concurrent_trials=resources.max_concurrent,
            reuse_actors=True,  # a fresh process costs seconds of importing torch
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=0),  # what died is given again by us: see `TellWatch`
            callbacks=[tell],
            verbose=0,
        ),
    ).fit()
