"""Real raylets with logical GPUs, and a driver for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
from listener import Listener
from ray.cluster_utils import Cluster
from raylets import SCORES

from orchestrator.environment import ALWAYS
from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import TrialList
from orchestrator.planning.catalog import catalog
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import run_on_ray
from search_spaces import expand, load
from trainables.context import Place

SHARP = {"health_check_period_ms": 1000}  # a head that notices within seconds when a node is gone


@pytest.fixture
def cluster(monkeypatch):
    """A head that runs nothing, and nodes as the test wants them, also while Tune has the main thread."""
    monkeypatch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)  # only a main thread may
    for name, value in ALWAYS.items():  # as the command does
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SHARP})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def sweep(tmp_path):
    """Runs trials with one CPU each and returns what the driver told."""

    def go(trials, resources=Resources(), stop=None, during: Callable[[], None] | None = None, **more):  # noqa: B008
        place = Place(tmp_path / "checkpoints", tmp_path / "data", save_seconds=0, workers=resources.workers)
        listener, stop, over = Listener(), stop or Stop(), threading.Event()

        def beside() -> None:
            try:
                if during:
                    during()
            except BaseException:
                stop.request("The test failed.", grace=0)
                raise
            over.wait()  # Linux ends processes with the thread that started them, and this one may start nodes

        with ThreadPoolExecutor(1) as pool:
            side = pool.submit(beside)
            try:
                undisturbed = run_on_ray(
                    TrialList(trials), place, resources, listener, tmp_path / ".tune", stop, **more
                )
            finally:
                over.set()
            side.result()
        return undisturbed, listener

    return go


@pytest.fixture
def own(tmp_path):
    """A trial with a score of the file above."""

    def make(name, **more):
        file = tmp_path / "scores.py"
        file.write_text(SCORES.replace("LOG", str(tmp_path / "log")))
        space = {"dataset": "digits", "architecture": "mlp", "compression": 4, "epochs": 1, "pruner": f"{file}:{name}"}
        (trial,) = expand(load(space | more), catalog())[1]
        return trial

    return make
