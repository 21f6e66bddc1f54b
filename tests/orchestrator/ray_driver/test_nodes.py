"""Nodes that are lost, that join, and that are not as the others; and a stop."""

from __future__ import annotations

import os
import re

import pytest
import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from raylets import epochs, long, until

from orchestrator.live.interrupt import Stop
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import trial_callback
from trainables.context import Place
from trainables.on_ray.workers import MisplacedError, ray_workers
from trainables.record import checkpoint
from trainables.record.checkpoint import CHECKPOINT
from trainables.record.event_log import ended
from trainables.versions import versions

pytestmark = pytest.mark.cluster


def test_each_kind_of_trial_has_its_own_share(cluster, sweep, own):
    cluster.add_node(num_cpus=2, num_gpus=2)
    small, large, usual = own("curious"), own("curious", seed=1), own("curious", seed=2)
    _, told = sweep([small, large, usual], Resources(1, 0.5, shares={small.fingerprint: 0.25, large.fingerprint: 2}))
    said = [told.errors[trial.fingerprint].rpartition(": ")[2] for trial in (small, large, usual)]
    assert said == ["it has 0.25 GPUs", "it has 2 GPUs", "it has 0.5 GPUs"]


def test_lost_nodes_do_not_use_up_the_attempts(cluster, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_callback, "ATTEMPTS", 1)
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

    _, told = sweep([with_gpu, without], Resources(1, 1, shares=started), during=during)
    assert told.errors[with_gpu.fingerprint].endswith("it has 1 GPUs")


OTHER_TORCH = rf"Node \S+ has torch 1\.0\.0, but here it is torch {re.escape(versions()['torch'])}\."


def other_torch(folder):
    """A path for Python on which torch says to be another version."""
    fake = folder / "site" / "torch-1.0.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    return os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])


def test_a_node_of_other_versions_computes_nothing(cluster, sweep, tmp_path):
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": other_torch(tmp_path)})
    stop = Stop()
    undisturbed, told = sweep([long(seed) for seed in range(3)], stop=stop)
    assert not undisturbed
    assert re.fullmatch(OTHER_TORCH, stop.reason)
    assert set(told.errors.values()) == {None}  # none failed: where versions are right, they can be run
    assert not list((tmp_path / "checkpoints").glob("*"))


@ray.remote(num_cpus=1)
def taken_part(place):
    with ray_workers(place, versions()):
        pass


def test_a_worker_on_a_node_of_other_versions_computes_nothing(cluster, sweep, tmp_path):
    cluster.add_node(num_cpus=1, resources={"right": 1})
    cluster.add_node(num_cpus=1, resources={"wrong": 1}, env_vars={"PYTHONPATH": other_torch(tmp_path)})
    group = placement_group([{"CPU": 1, "right": 1}, {"CPU": 1, "wrong": 1}])
    first = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    two = Place(tmp_path / "checkpoints", tmp_path / "data", workers=2)
    with pytest.raises(MisplacedError, match=OTHER_TORCH):
        ray.get(taken_part.options(scheduling_strategy=first).remote(two))
    remove_placement_group(group)
    stop = Stop()
    undisturbed, told = sweep([long(0)], Resources(1, workers=2), stop)
    assert not undisturbed
    assert re.fullmatch(OTHER_TORCH, stop.reason)
    assert set(told.errors.values()) == {None}
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_when_no_node_is_left_it_says_so_and_does_not_wait_for_ever(cluster, sweep, monkeypatch, tmp_path):
    monkeypatch.setattr(trial_callback, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(trial_callback, "WAIT_SECONDS", 1.0)
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
    assert stop.reason == "--cpus-per-trial: 2 asked for, but no node has more than 1 CPUs, and none has joined."
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
