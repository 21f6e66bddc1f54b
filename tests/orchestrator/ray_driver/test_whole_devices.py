"""Devices of a cluster that are reserved whole, one latency at a time."""

from __future__ import annotations

import pytest

from orchestrator.planning.resources import Resources
from orchestrator.ray_driver.whole_devices import measure_on_whole_devices, whole_devices
from search_spaces import Trial
from trainables.context import Place
from trainables.latency_alone import is_measured_alone
from trainables.record.event_log import snapshot
from trainables.run import run

pytestmark = pytest.mark.cluster


def test_each_latency_has_a_device_of_its_own(cluster, tmp_path):
    place = Place(tmp_path / "trials", tmp_path / "data")
    trials = [Trial(dataset="digits", architecture="mlp", epochs=1, seed=seed) for seed in range(3)]
    for trial in trials:
        assert run(trial, place).end == "finished"
    cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=1, num_gpus=4)
    assert sorted(device[1:] for device in whole_devices(Resources(1))) == [(1, 0), (2, 0)]
    assert [device[1:] for device in whole_devices(Resources(1, 0.5))] == [(0.25, 1)] * 4

    stops = iter([False, True])
    first = list(measure_on_whole_devices(trials, place, Resources(2), (), lambda: next(stops, True)))
    assert first == [(trials[0], "")]  # one node has two CPUs, and what has not begun is left out
    rest = list(measure_on_whole_devices(trials, place, Resources(1), (), lambda: False))
    assert sorted((trial.seed, reason) for trial, reason in rest) == [(0, ""), (1, ""), (2, "")]
    assert all(is_measured_alone(snapshot(place.storage / trial.fingerprint)) for trial in trials)
    nowhere = list(measure_on_whole_devices(trials, place, Resources(8), (), lambda: False))
    assert {reason for _, reason in nowhere} == {"no node of the cluster has the device"}
