"""Trials on real raylets with logical GPUs: shares, too little memory, crashes, lost nodes, and stops."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
import torch
from listener import Listener
from ray.cluster_utils import Cluster

from orchestrator.catalog import catalog
from orchestrator.driver import run_on_ray, telling
from orchestrator.environment import ALWAYS
from orchestrator.resources import Resources
from orchestrator.sources import Listed
from orchestrator.stopping import Stop
from search_spaces import Trial, expand, load
from trainables import checkpoint
from trainables.outbox import ended, read
from trainables.place import CHECKPOINT, Place
from trainables.versions import versions

pytestmark = pytest.mark.cluster
SHARP = {"health_check_period_ms": 1000}  # a head that notices within seconds when a node is gone
SCORES = """
import os, ray, torch
from pathlib import Path

def gpus():
    return sum(n for name, n in ray.get_runtime_context().get_assigned_resources().items() if name.startswith("GPU"))

def hungry(model, batches, *, mode, generator):
    if gpus() < 1:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return {name: p.detach().abs() for name, p in model.named_parameters() if p.dim() > 1}

def insatiable(model, batches, *, mode, generator):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")

def curious(model, batches, *, mode, generator):
    raise ValueError(f"it has {gpus():g} GPUs")

def deadly(model, batches, *, mode, generator):
    with Path("LOG").open("a") as log:
        log.write("x")
    os._exit(1)
"""


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
        place = Place(tmp_path / "checkpoints", tmp_path / "data", save_seconds=0)
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
                undisturbed = run_on_ray(Listed(trials), place, resources, listener, tmp_path / ".tune", stop, **more)
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


def long(seed, epochs=200):
    return Trial(dataset="digits", architecture="mlp", epochs=epochs, seed=seed)


def epochs(folder):
    return [event["step"] for event, _ in read(folder) if "train/loss" in event.get("metrics", {})]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def tags(folder):
    return {key: value for event, _ in read(folder) for key, value in event.get("tags", {}).items()}


def test_too_little_memory_is_given_twice_as_much_once(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=2, num_gpus=1)
    hungry, insatiable, plain = own("hungry"), own("insatiable"), long(0, epochs=1)
    undisturbed, told = sweep([hungry, insatiable, plain], Resources(1, 0.5))
    assert undisturbed
    assert told.over == {hungry.fingerprint, insatiable.fingerprint, plain.fingerprint}
    assert (told.errors[hungry.fingerprint], told.errors[plain.fingerprint]) == (None, None)
    assert "80.00 GiB" in told.errors[insatiable.fingerprint]
    folder = tmp_path / "checkpoints" / hungry.fingerprint
    assert ended(folder) == "finished"
    assert tags(folder)["out_of_memory"] == "with 0.5 of a GPU; tried again with more"
    assert f"{hungry.fingerprint}: out of memory with 0.5 of a GPU; it is tried again with 1" in told.notices


def test_each_kind_of_trial_has_its_own_share(cluster, sweep, own):
    cluster.add_node(num_cpus=2, num_gpus=2)
    small, large, usual = own("curious"), own("curious", seed=1), own("curious", seed=2)
    _, told = sweep([small, large, usual], Resources(1, 0.5), shares={small.fingerprint: 0.25, large.fingerprint: 2})
    said = [told.errors[trial.fingerprint].rpartition(": ")[2] for trial in (small, large, usual)]
    assert said == ["it has 0.25 GPUs", "it has 2 GPUs", "it has 0.5 GPUs"]


def test_a_process_that_dies_every_time_is_not_started_for_ever(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=2)
    deadly, plain = own("deadly"), long(0, epochs=1)
    undisturbed, told = sweep([deadly, plain])
    assert undisturbed
    assert told.errors == {deadly.fingerprint: telling.DIED, plain.fingerprint: None}
    assert len((tmp_path / "log").read_text()) == telling.ATTEMPTS


def test_those_in_one_process_with_a_trial_that_dies_every_time_finish(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=3)
    deadly, plain = own("deadly"), [long(seed, epochs=1) for seed in range(4)]
    undisturbed, told = sweep([deadly, *plain], Resources(1, pack=3))
    assert undisturbed
    assert told.errors == {deadly.fingerprint: telling.DIED} | {trial.fingerprint: None for trial in plain}
    assert len((tmp_path / "log").read_text()) == telling.ATTEMPTS
    for trial in plain:
        assert epochs(tmp_path / "checkpoints" / trial.fingerprint) == [1]


def test_a_trial_that_ray_kills_for_want_of_memory_says_so(cluster, sweep):
    cluster.add_node(
        num_cpus=1, env_vars={"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    )
    trial = long(0, epochs=5000)
    undisturbed, told = sweep([trial])
    assert undisturbed
    assert told.errors == {trial.fingerprint: f"{telling.LOW_MEMORY}, 4 times"}
    assert told.notices == [f"{trial.fingerprint}: {telling.LOW_MEMORY}; it is tried again"] * 3


def test_trials_of_one_process_that_ray_kills_each_time_it_comes_up_end_too(cluster, sweep):
    cluster.add_node(
        num_cpus=2, env_vars={"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    )
    trials = [long(seed, epochs=5000) for seed in range(2)]
    undisturbed, told = sweep(trials, Resources(1, pack=2))
    assert undisturbed
    assert told.errors == {trial.fingerprint: f"{telling.LOW_MEMORY}, 4 times" for trial in trials}


def test_lost_nodes_do_not_use_up_the_attempts(cluster, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(telling, "ATTEMPTS", 1)
    trial = long(0, epochs=400)
    folder = tmp_path / "checkpoints" / trial.fingerprint
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    lost: list[int] = []

    def lose_two_nodes():
        while len(nodes) > 1:
            seen = len(epochs(folder))
            until(lambda seen=seen: len(epochs(folder)) > seen)
            lost.append(len(epochs(folder)))
            actors = ray._private.state.actors().values()
            busy = {actor["Address"]["NodeID"] for actor in actors if actor["State"] == "ALIVE"}
            for node in [node for node in nodes if node.node_id in busy]:
                nodes.remove(node)
                cluster.remove_node(node, allow_graceful=False)

    undisturbed, told = sweep([trial], during=lose_two_nodes)
    assert undisturbed
    assert told.errors == {trial.fingerprint: None}
    assert len(nodes) == 1
    assert lost[-1] < trial.epochs
    assert epochs(folder) == list(range(1, trial.epochs + 1))


def test_nodes_that_join_later_are_used(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=1)
    with_gpu, without = own("curious"), long(0)
    started = {with_gpu.fingerprint: 1.0, without.fingerprint: 0.0}

    def during():
        until(lambda: epochs(tmp_path / "checkpoints" / without.fingerprint))
        cluster.add_node(num_cpus=1, num_gpus=1)

    _, told = sweep([with_gpu, without], Resources(1, 1), during=during, shares=started)
    assert told.errors[with_gpu.fingerprint].endswith("it has 1 GPUs")


def test_a_node_of_other_versions_computes_nothing(cluster, sweep, tmp_path):
    fake = tmp_path / "site" / "torch-1.0.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    path = os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": path})
    stop = Stop()
    undisturbed, told = sweep([long(seed) for seed in range(3)], stop=stop)
    assert not undisturbed
    assert stop.reason.startswith("Node ")
    assert stop.reason.endswith(f" has torch 1.0.0, but here it is torch {versions()['torch']}.")
    assert set(told.errors.values()) == {None}  # none failed: where versions are right, they can be run
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_when_no_node_is_left_it_says_so_and_does_not_wait_for_ever(cluster, sweep, monkeypatch, tmp_path):
    monkeypatch.setattr(telling, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(telling, "WAIT_SECONDS", 1.0)
    small = cluster.add_node(num_cpus=1)
    big = cluster.add_node(num_cpus=2)
    trial = long(0, epochs=2000)

    def lose():
        until(lambda: epochs(tmp_path / "checkpoints" / trial.fingerprint))
        cluster.remove_node(big, allow_graceful=False)

    stop = Stop()
    undisturbed, told = sweep([trial], Resources(2, 0), stop=stop, during=lose)
    assert not undisturbed
    assert told.notices[0].startswith("--cpus-per-trial: 2 asked for, but no node has more than 1 CPUs; waiting")
    assert stop.reason == "--cpus-per-trial: 2 asked for, but no node has more than 1 CPUs, and none came."
    assert told.errors == {trial.fingerprint: None}  # it did not fail
    assert small


def test_a_stop_saves_what_runs_and_begins_nothing(cluster, sweep, tmp_path):
    cluster.add_node(num_cpus=2)
    trials = [long(seed, epochs=5000) for seed in range(40)]
    folders = [tmp_path / "checkpoints" / trial.fingerprint for trial in trials]
    stop = Stop()

    def ask():
        until(lambda: sum(bool(epochs(folder)) for folder in folders) == 2)
        stop.request("Interrupted.")

    undisturbed, told = sweep(trials, stop=stop, during=ask)
    assert not undisturbed
    assert len(told.begun) == 2
    assert set(told.errors.values()) == {None}
    for folder in (folder for folder in folders if folder.name in told.begun):
        assert ended(folder) is None
        assert checkpoint.load(folder / CHECKPOINT, torch.device("cpu"))["progress"]["epoch"] == epochs(folder)[-1]
    assert sum(folder.exists() for folder in folders) == 2
