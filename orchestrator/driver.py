"""Trials on Ray Tune. Ray is the engine, not the ledger: what is done is read from the trials' own records.

So there is no restore: whatever happens, a fresh Tuner over the trials that are not done is right.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import yaml
from ray import tune

import orchestrator
import pruners
import search_spaces
import trainables
from orchestrator.resources import Resources, require_somewhere, this_machine
from orchestrator.watch import Watch
from search_spaces import SpaceError, Trial
from trainables.ray_trial import ray_trial
from trainables.run import Place

ATTEMPTS = 4  # of one trial whose process or node dies; what fails by itself is recorded and not tried again
DIED = "the process of the trial died, again and again: out of memory, or a crash below Python"
RESTARTS = 3  # of the Tuner: an out-of-memory kill by Ray ends fit() itself (seen with 2.60)


@contextmanager
def connected(address: str | None, resources: Resources) -> Iterator[None]:
    """Inside, Ray is there: a cluster at `address`, or one on this machine that listens on loopback only.

    Raises:
        SpaceError: if nothing answers at `address`, or no node can ever give what one trial asks for.
    """
    if address is None:
        require_somewhere([this_machine()], resources)
    else:
        _require_answer(address)
    try:
        if address is None:
            # "local", or Ray joins whatever cluster it finds a trace of on this machine.
            ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        else:
            code = {"py_modules": [orchestrator, trainables, pruners, search_spaces]}  # nodes run what we run
            ray.init(address=address, runtime_env=code, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "Ray could not start here" if address is None else f"--address: no Ray answers at '{address}'"
        raise SpaceError(f"{where} ({' '.join(str(error).split())[:300]})") from None
    try:
        if address is not None:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            require_somewhere([*nodes, *_nodes_to_come()], resources)
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Try the port first: Ray itself tries for minutes, and says so on the terminal all the while."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # "auto": Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise SpaceError(f"--address: no Ray answers at '{address}' ({error})") from None


def _nodes_to_come() -> list[dict[str, float]]:
    """What the nodes have that `ray up` may add: its head keeps the cluster's file, in which workers may start at 0."""
    file = Path("~/ray_bootstrap_config.yaml").expanduser()
    if not file.is_file():
        return []
    types = yaml.safe_load(file.read_text(encoding="utf-8")).get("available_node_types", {})
    return [kind.get("resources", {}) for kind in types.values() if kind.get("max_workers", 1)]


def run_on_ray(trials: Sequence[Trial], place: Place, resources: Resources, watch: Watch, scratch: Path) -> bool:
    """Run `trials` on the connected Ray; False if interrupted (Ctrl-C, SIGTERM).

    `scratch` is a folder for what Tune insists on writing; it is removed afterwards.
    """
    with _stoppable() as stopped:
        for _ in range(1 + RESTARTS):
            left = [trial for trial in trials if trial.fingerprint not in watch.over]
            if not left or stopped():
                break
            try:
                _fit(left, place, resources, TellWatch(watch, stopped), scratch)
                break
            except Exception as error:  # noqa: BLE001 - Tune failed, not a trial: start over with what is left
                logging.getLogger(__name__).warning("Ray Tune stopped: %s", error)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        for fingerprint in watch.begun - watch.over:  # what Tune did not tell the end of
            watch.ended(fingerprint, None if stopped() else DIED)
        return not stopped()


def _fit(trials: Sequence[Trial], place: Place, resources: Resources, tell: TellWatch, scratch: Path) -> None:
    def trainable(config: dict[str, Any]) -> None:  # a fresh function: with_resources changes what it is given
        ray_trial(config, place)

    grid = [{"fingerprint": t.fingerprint, "trial": t.model_dump_json()} for t in trials]
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        param_space={"point": tune.grid_search(grid)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=resources.max_concurrent,
            reuse_actors=True,  # a fresh process costs seconds of importing torch
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            callbacks=[tell],
            verbose=0,
        ),
    ).fit()


class TellWatch(tune.Callback):
    """Tells the watch which trials start and end. Tune pickles its callbacks: the watch stays out of that."""

    def __init__(self, watch: Watch | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        self._watch, self._stopped = watch, stopped

    def __reduce__(self) -> tuple[type[TellWatch], tuple[()]]:
        return TellWatch, ()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune turns once more. Ctrl-C may have come before Tune listened: then it is told now."""
        if self._stopped():
            os.kill(os.getpid(), signal.SIGUSR1)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial got its resources."""
        if self._watch is not None:
            self._watch.started(trial.config["point"]["fingerprint"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial returned, having recorded how it ended."""
        if self._watch is not None:
            error = trial.last_result.get("error") if trial.last_result.get("end") == "failed" else None
            self._watch.ended(trial.config["point"]["fingerprint"], error)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process of a trial died more often than it is started again."""
        if self._watch is not None:
            self._watch.ended(trial.config["point"]["fingerprint"], DIED)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C and SIGTERM end Tune in good order; a second Ctrl-C ends the program at once."""
    stopped = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            os._exit(130)
        stopped = True
        # Tune listens to SIGUSR1 while it runs; before and after that the signal would kill us.
        if signal.getsignal(signal.SIGUSR1) not in (signal.SIG_DFL, None):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
